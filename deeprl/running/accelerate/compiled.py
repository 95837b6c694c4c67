"""An objective's update as one compiled function: loss, gradient, norm, clipping, and the optimizer's rule. The agent's answer is compiled
too.

The function is traced once into a graph of plain operators, which inductor compiles. The graph contains no Python, so that a call costs
little more than its kernels; the guards of `torch.compile` and the optimizer's own calls, which matter most for small networks, are gone.
In return, a value that is not a tensor must not change after the first call: a loss is a pure function of parameters, buffers and batch,
and everything else that it reads is a frozen choice.

Tensors that are not trained, such as targets and statistics, are arguments that the function reads at each call. Buffers may be replaced by
tensors of the same shape, strides and type. Parameters that share memory must be written in place, see
`deeprl.running.accelerate.pure.share`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deeprl.learning.agent import Agent
from deeprl.learning.optim.finite import Watch
from deeprl.replay.gather import Minibatch, Sample
from deeprl.running.accelerate.graph import QUICK, Kept, TensorLayout, compiled, paths, reached, traced
from deeprl.running.accelerate.pure import PureFunction, PureInference, PureStep
from deeprl.system.ranks import ALONE, Ranks
from deeprl.system.staging import Staging
from deeprl.types import Batch, NetworkNoise, Report


class CompiledStep:
    """Compiled update of one objective, for batches of one layout.

    Args:
        agent, name: the agent, and the name of its objective.
        unpack: turns the argument `batch` into a `Batch`.
        batch: first argument of the update, nested named tuples and dictionaries of tensors.
        watch: its `failed` stops updates on devices other than the CPU.
        backend: see `deeprl.running.accelerate.graph.BACKENDS`.
        ranks: see `PureStep`. Their mean is a part of the graph.

    Raises:
        Exception: any error of tracing or of the compiler.
    """

    def __init__(
        self,
        agent: Agent,
        name: str,
        unpack: Callable[..., Batch],
        batch: Sample,
        watch: Watch,
        backend: str = "inductor",
        ranks: Ranks = ALONE,
    ):
        pure, self.ranks = PureStep(agent, name, unpack, ranks), ranks
        self.groups = pure.groups
        host = [torch.zeros(len(group.numbers(0))) for group in self.groups]
        self.written = [(group, numbers.numpy()) for group, numbers in zip(self.groups, host)]
        device = self.groups[0].flat.device
        numbers = [each.to(device) for each in host]  # on a CPU the same tensors
        self.host, self.numbers, self.stage = host, numbers, None if device.type == "cpu" else Staging(device)
        averages = [[getattr(group, name) for name in group.averages] for group in self.groups]
        flats, shared, loose = [group.flat for group in self.groups], pure.constants.flats(), pure.constants.loose()
        spelled = QUICK if backend == "inductor" and isinstance(batch, Minibatch) else None
        graph, wanted = traced(pure, (flats, averages, numbers, watch.failed, shared, loose, batch), spelled)
        self.metrics = pure.metrics
        kept = Kept(wanted)
        self.fixed = kept([*flats, *[average for own in averages for average in own], *numbers, watch.failed, *shared])
        self.loose = kept(list(pure.constants.places.values()))
        self.kind, self.paths = type(batch), kept(paths(batch))
        leaves = reached(batch, self.paths)
        self.layout = TensorLayout(leaves)
        stays = {id(tensor) for tensor in getattr(batch, "lasting", {}).values()}  # of `deeprl.replay.gather.Drawn`
        for (group, written), there, here in zip(self.written, numbers, host):
            written[:] = group.numbers(0)  # with sizes of 0 a backend that compares an update with its operators would compare no step
            there.copy_(here)
        inputs, own = self.inputs(leaves), len(self.fixed) + len(self.loose)
        self.run = compiled(backend, graph, inputs, [True] * own + [id(leaf) in stays for leaf in leaves], alone=ranks.size == 1)

    def inputs(self, leaves: list[Tensor]) -> list[Tensor]:
        return [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves]

    def leaves(self, batch: Sample) -> list[Tensor] | None:
        """Tensors that the update reads of a batch; None if it was compiled for another kind or layout of batches."""
        if type(batch) is not self.kind:
            return None
        leaves = reached(batch, self.paths)
        return leaves if self.layout.of(leaves) else None

    def __call__(self, leaves: list[Tensor], step: int) -> tuple[Tensor, Tensor, Report]:
        """Update in place; nothing changes if a number is not finite. See `PureStep.__call__`.

        Args:
            step: environment step, for schedules.
        """
        for group, written in self.written:
            written[:] = group.numbers(step)
        if self.stage is not None:
            for into, there in zip(self.numbers, self.stage(self.host)):
                into.copy_(there)
        with self.ranks.waiting("gradients"):
            check, norm, error, *metrics = self.run(self.inputs(leaves))
        return check, norm, Report(error, dict(zip(self.metrics, metrics)))

    def count(self) -> None:
        """Count one update, because the optimizer's rule may depend on the number of updates."""
        for group in self.groups:
            group.taken += 1


class CompiledInference:
    """Compiled `Agent.infer`, for observations, noise and states of one layout. Arguments and errors are those of `CompiledStep`."""

    def __init__(self, agent: Agent, obs: Tensor, noise: NetworkNoise, *state: Tensor, backend: str = "inductor"):
        pure = PureInference(agent)
        flats, loose = pure.constants.flats(), pure.constants.loose()
        graph, wanted = traced(pure, (flats, loose, obs, noise, *state))
        kept = Kept(wanted)
        self.fixed, self.loose = kept(flats), kept(list(pure.constants.places.values()))
        assert kept([obs]), "an agent that acts without looking"
        self.paths = kept(paths(noise))
        states = kept(list(state))
        self.reads_state = bool(states)  # a core may ignore it
        leaves = [obs, *reached(noise, self.paths), *states]
        self.layout = TensorLayout(leaves)
        inputs = self.inputs(leaves)
        self.run = compiled(backend, graph, inputs, [True] * (len(inputs) - len(leaves)) + [False] * len(leaves))

    def inputs(self, leaves: list[Tensor]) -> list[Tensor]:
        return [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves]

    def __call__(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        """The output; None if observations, noise or state have another layout."""
        leaves = [obs, *reached(noise, self.paths), *(state if self.reads_state else ())]
        if not self.layout.of(leaves):
            return None
        output, *after = self.run(self.inputs(leaves))
        return (output, *(each.clone() for each in after)) if state else output  # copies, because a graph on a device writes there again


class CompiledFunction:
    """Compiled function of an agent's networks and of nested tensors, which it may write into, for arguments of one layout.

    Args:
        function: gives results by name.
        lasting, arguments: its arguments; the tensors of the first one keep their memory from call to call.
        Others, and errors, are those of `CompiledStep`.
    """

    def __init__(self, agent: Agent, function: Callable[..., dict[str, Tensor]], lasting: Any, *arguments: Any, backend: str = "inductor"):
        pure, given = PureFunction(agent, function), (lasting, *arguments)
        flats, loose = pure.constants.flats(), pure.constants.loose()
        graph, wanted = traced(pure, (flats, loose, given), QUICK if backend == "inductor" else None)
        self.names, kept = pure.names, Kept(wanted)
        self.fixed, self.loose = kept(flats), kept(list(pure.constants.places.values()))
        self.paths = kept(paths(given))
        leaves = reached(given, self.paths)
        self.layout = TensorLayout(leaves)
        stays = [True] * (len(self.fixed) + len(self.loose)) + [path[0] == 0 for path in self.paths]
        self.run = compiled(backend, graph, self.inputs(leaves), stays)

    def inputs(self, leaves: list[Tensor]) -> list[Tensor]:
        return [*self.fixed, *[owner[key] for owner, key in self.loose], *leaves]

    def __call__(self, *arguments: Any) -> dict[str, Tensor] | None:
        """The results; None if the arguments have another layout."""
        leaves = reached(arguments, self.paths)
        return dict(zip(self.names, self.run(self.inputs(leaves)))) if self.layout.of(leaves) else None
