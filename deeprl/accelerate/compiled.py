"""One optimizer step as one compiled function: loss, gradient, its norm, clipping, and the optimizer's rule. Likewise the agent's answer.

The function is traced once into a graph of plain operators and given to inductor. Nothing of Python is left in it, so that calling it costs
little more than its kernels: neither the guards of `torch.compile` nor the optimizer's own calls, which small networks feel most.
The price is that what is no tensor must not change after the first call. A loss is a pure function of parameters, buffers and batch, and
everything else it reads is a frozen choice.

What is not trained, targets and statistics included, is constant to the function but read anew at each call. Buffers may be replaced, by
tensors of the same shape, strides and type; parameters that share their memory are written into, see `deeprl.accelerate.pure.share`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deeprl.accelerate.graph import BACKENDS, Kept, Layout, paths, reached, traced
from deeprl.accelerate.pure import PureAnswer, PureStep
from deeprl.agent import Agent
from deeprl.optim.finite import Watch
from deeprl.types import Batch, Learned


class CompiledStep:
    """The optimizer step of one objective, for batches of one layout.

    Args:
        agent, name: whose objective.
        unpack: makes a `Batch` of what the step is called with.
        batch: the first of these, in named tuples and dictionaries of tensors.
        watch: its `failed` stops steps on devices that are not read at once.
        backend: see `BACKENDS`.

    Raises:
        Exception: whatever tracing or the compiler raises.
    """

    def __init__(self, agent: Agent, name: str, unpack: Callable[[Any], Batch], batch: Any, watch: Watch, backend: str = "inductor"):
        pure = PureStep(agent, name, unpack)
        self.parts = pure.parts
        host = [torch.zeros(len(part.numbers(0))) for part in self.parts]
        self.written = [(part, numbers.numpy()) for part, numbers in zip(self.parts, host)]
        numbers = [each.to(part.flat.device) for part, each in zip(self.parts, host)]  # on a CPU the same
        self.away = [(into, each) for into, each in zip(numbers, host) if into is not each]
        averages = [[getattr(part, name) for name in part.averages] for part in self.parts]
        flats, shared, loose = [part.flat for part in self.parts], pure.constants.flats(), pure.constants.loose()
        graph, wanted = traced(pure, (flats, averages, numbers, watch.failed, shared, loose, batch))
        self.metrics = pure.metrics
        kept = Kept(wanted)
        self.fixed = kept([*flats, *[average for own in averages for average in own], *numbers, watch.failed, *shared])
        self.loose = kept(list(pure.constants.places.values()))
        self.kind, self.paths = type(batch), kept(paths(batch))
        leaves = reached(batch, self.paths)
        self.layout = Layout(leaves)
        self.run = BACKENDS[backend](graph, self.inputs(leaves))

    def inputs(self, leaves: list[Tensor]) -> list[Tensor]:
        return [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves]

    def takes(self, batch: Any) -> bool:
        """Whether it was compiled for batches of this kind and layout."""
        return type(batch) is self.kind and self.layout.of(reached(batch, self.paths))

    def __call__(self, batch: Any, step: int) -> tuple[Tensor, Tensor, Learned]:
        """One step in place, unless something is not finite: then nothing changes. See `PureStep.__call__`.

        Args:
            step: environment step, for schedules.
        """
        for part, written in self.written:
            written[:] = part.numbers(step)
        for into, host in self.away:
            into.copy_(host)
        check, norm, error, *metrics = self.run(*self.inputs(reached(batch, self.paths)))
        return check, norm, Learned(error, dict(zip(self.metrics, metrics)))

    def count(self) -> None:
        """One step more was made: the optimizer's rule may depend on how many."""
        for part in self.parts:
            part.taken += 1


class CompiledAnswer:
    """`Agent.answer`, for observations and noise of one layout. Arguments and errors as of `CompiledStep`."""

    def __init__(self, agent: Agent, obs: Tensor, noise: Any, backend: str = "inductor"):
        pure = PureAnswer(agent)
        flats, loose = pure.constants.flats(), pure.constants.loose()
        graph, wanted = traced(pure, (flats, loose, obs, noise))
        kept = Kept(wanted)
        self.fixed, self.loose = kept(flats), kept(list(pure.constants.places.values()))
        assert kept([obs]), "an agent that acts without looking"
        self.paths = kept(paths(noise))
        leaves = [obs, *reached(noise, self.paths)]
        self.layout = Layout(leaves)
        self.run = BACKENDS[backend](graph, self.inputs(leaves))

    def inputs(self, leaves: list[Tensor]) -> list[Tensor]:
        return [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves]

    def takes(self, obs: Tensor, noise: Any) -> bool:
        return self.layout.of([obs, *reached(noise, self.paths)])

    def __call__(self, obs: Tensor, noise: Any) -> Tensor:
        return self.run(*self.inputs([obs, *reached(noise, self.paths)]))[0]
