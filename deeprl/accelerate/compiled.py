"""One optimizer step as one compiled function: loss, gradient, its norm, clipping, and the optimizer's rule.

The function is traced once into a graph of plain operators and given to inductor. Nothing of Python is left in it, so that calling it costs
little more than its kernels: neither the guards of `torch.compile` nor the optimizer's own calls, which small networks feel most.
The price is that what is no tensor must not change after the first call. A loss is a pure function of parameters, buffers and batch, and
everything else it reads is a frozen choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.accelerate.graph import BACKENDS, Kept, Layout, Run, batch_paths, traced
from deeprl.accelerate.pure import Pure, parts, places, share, unpacked
from deeprl.agent import Agent, descend
from deeprl.types import Batch, Learned


class _Compiled:
    """One objective for batches of one layout.

    What it does at each call is little, and done once where it can be: between large products every line of Python costs several times
    what it does alone.
    """

    def __init__(self, pure: Pure, batch: Any, backend: str):
        optimizer, watch = pure.optimizer, pure.agent.watch
        self.parts = parts(optimizer)
        host = [torch.zeros(len(part.numbers(0))) for part in self.parts]
        self.written = [(part, numbers.numpy()) for part, numbers in zip(self.parts, host)]  # quicker to set than a tensor
        numbers = [each.to(part.flat.device) for part, each in zip(self.parts, host)]  # on a CPU the same
        self.away = [(into, each) for into, each in zip(numbers, host) if into is not each]
        averages = [[getattr(part, name) for name in part.averages] for part in self.parts]
        shared = [some.flat for some in pure.shared]
        loose = {name: owner[key] for name, (owner, key) in pure.loose.items()}
        graph, wanted = traced(pure.step, (optimizer.flats, averages, numbers, watch.failed, shared, loose, batch))
        self.metrics = pure.metrics

        kept = Kept(wanted)
        self.fixed = kept([*optimizer.flats, *[average for own in averages for average in own], *numbers, watch.failed, *shared])
        self.loose = kept(list(pure.loose.values()))
        paths = kept(batch_paths(batch))
        self.fields = [field for field, key in paths if key is None]
        self.entries = [(field, key) for field, key in paths if key is not None]
        leaves = self.leaves(batch)
        self.kind, self.layout = type(batch), Layout(leaves)
        self.run = BACKENDS[backend](graph, self.inputs(leaves))

    def leaves(self, batch: Any) -> list[Tensor]:
        return [*[batch[field] for field in self.fields], *[batch[field][key] for field, key in self.entries]]

    def inputs(self, leaves: list[Tensor]) -> list[Tensor]:
        return [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves]

    def __call__(self, leaves: list[Tensor], step: int) -> tuple[Tensor, Tensor, Learned]:
        """See `Pure.step`."""
        for part, written in self.written:
            written[:] = part.numbers(step)
        for into, host in self.away:
            into.copy_(host)
        check, norm, error, *metrics = self.run(self.inputs(leaves))
        return check, norm, Learned(error, dict(zip(self.metrics, metrics)))


class CompiledStep:
    """In place of `deeprl.agent.descend`: each objective's step compiled, for each layout of a batch, when first asked for. Call it always
    under the same matmul precision.

    What is not trained, targets and statistics included, is constant to it but read anew at each call. Buffers may be replaced, by tensors
    of the same shape, strides and type; parameters that share their memory are written into, see `share`.

    Args:
        failed: called with the error if an objective cannot be compiled; from then on steps are made as without a compiler. None raises it.
            Whoever pairs it with a `CompiledAnswer` sets `broken` of both, so that a run has one mode.
        backend: "inductor", or "eager", which only traces: for tests without a compiler.

    Attributes:
        unpack: makes a `Batch` of what it is called with, which may be one or, in named tuples and dictionaries of tensors, what a replay
            has drawn: then the arithmetic in between is compiled as well.
    """

    unpack: Callable[[Any], Batch] | None = None

    def __init__(self, agent: Agent, failed: Callable[[Exception], None] | None = None, backend: str = "inductor"):
        self.failed, self.backend, self.broken = failed, backend, False
        self.compiled: dict[str, list[_Compiled]] = {name: [] for name in agent.objectives}

    def __call__(self, agent: Agent, name: str, batch: Any) -> tuple[Learned, Tensor]:
        if self.broken:
            return descend(agent, name, batch if self.unpack is None else self.unpack(batch))
        for compiled in self.compiled[name]:
            if type(batch) is compiled.kind:
                leaves = compiled.leaves(batch)
                if compiled.layout.of(leaves):
                    break
        else:
            try:
                compiled = _Compiled(Pure(agent, name, self.unpack), batch, self.backend)
            except Exception as error:  # a broken compiler shows itself in many ways; an error of the agent's own comes again below
                if self.failed is None:
                    raise
                self.broken = True
                self.failed(error)
                return self(agent, name, batch)
            self.compiled[name].append(compiled)
            leaves = compiled.leaves(batch)
        check, norm, learned = compiled(leaves, agent.step)
        watch = agent.watch
        if not watch.immediate:
            watch(check, "")
        elif not math.isfinite(check.item()):
            watch(learned.error.sum(), "its error")
            watch(norm, "the norm of its gradient")
            watch(check, "the norm of all its gradients")
        for part in compiled.parts:
            part.taken += 1
        return learned, norm


class Answers(nn.Module):
    """An agent whose `forward` is its `answer`, which is what `functional_call` can call."""

    def __init__(self, agent: Agent):
        super().__init__()
        self.agent = agent

    def forward(self, obs: Tensor, noise: dict) -> Tensor:
        return self.agent.answer(obs, noise)


class CompiledAnswer:
    """In place of `agent.answer` while data is collected: compiled when first asked, for the layout of what it is asked then. Anything
    else, and everything if it cannot be compiled, is answered as without a compiler.

    Args:
        failed, backend: as of `CompiledStep`.
    """

    def __init__(self, agent: Agent, failed: Callable[[Exception], None] | None = None, backend: str = "inductor"):
        self.agent, self.failed, self.backend = agent, failed, backend
        self.run: Run | None = None
        self.broken = False

    def __call__(self, obs: Tensor, noise: dict[str, Tensor]) -> Tensor:
        if self.run is None and not self.broken:
            try:
                self.compile(obs, noise)
            except Exception as error:
                if self.failed is None:
                    raise
                self.broken = True
                self.failed(error)
        if self.broken or self.run is None:
            return self.agent.answer(obs, noise)
        leaves = [obs, *[noise[key] for key in self.keys]]
        if not self.layout.of(leaves):
            return self.agent.answer(obs, noise)
        return self.run([*self.fixed, *[owner[key] for owner, key in self.loose], *leaves])[0]

    def compile(self, obs: Tensor, noise: dict[str, Tensor]) -> None:
        module = Answers(self.agent)
        shared, loose = share(places(module))

        def answer(flats: list[Tensor], loose: dict[str, Tensor], obs: Tensor, noise: dict[str, Tensor]) -> list[Tensor]:
            return [torch.func.functional_call(module, unpacked(shared, flats, loose), (obs, noise))]

        flats = [some.flat for some in shared]
        graph, wanted = traced(answer, (flats, {name: owner[key] for name, (owner, key) in loose.items()}, obs, noise))
        kept = Kept(wanted)
        self.fixed, self.loose = kept(flats), kept(list(loose.values()))
        assert kept([obs]), "an agent that acts without looking"
        self.keys = kept(list(noise))
        leaves = [obs, *[noise[key] for key in self.keys]]
        self.layout = Layout(leaves)
        self.run = BACKENDS[self.backend](graph, [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves])
