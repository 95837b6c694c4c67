"""Update and inference of an agent as functions of tensors alone, which can be traced and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from deeprl.learning.agent import Agent
from deeprl.learning.optim.flat import Flat
from deeprl.replay.gather import Sample
from deeprl.system.ranks import ALONE, Ranks
from deeprl.types import Batch, NetworkNoise, Report


class TensorPlace(NamedTuple):
    """Place where a module stores a parameter or buffer, which it may replace."""

    owner: dict[str, Any]
    key: str


def places(module: nn.Module) -> dict[str, TensorPlace]:
    """Places of all parameters and buffers, by their names for `functional_call`."""
    found: dict[str, TensorPlace] = {}
    for name in [*(name for name, _ in module.named_parameters()), *(name for name, _ in module.named_buffers())]:
        path, _, key = name.rpartition(".")
        inner = module.get_submodule(path)
        found[name] = TensorPlace(inner._parameters if key in inner._parameters else inner._buffers, key)
    return found


class Shared(NamedTuple):
    """Parameters stored in one flat tensor. The compiled code takes that tensor as a single argument, because every argument adds call
    overhead."""

    flat: Tensor
    members: list[tuple[str, int, torch.Size]]
    """Name, offset of the first number, shape"""


def share(constants: dict[str, TensorPlace]) -> tuple[list[Shared], dict[str, TensorPlace]]:
    """Group parameters that share a flat tensor, such as those of targets and of other optimizers. Returns the groups and the rest.

    Parameters must be written in place, never replaced. Buffers may be replaced.
    """
    together: dict[int, list[str]] = {}
    for name, (owner, key) in constants.items():
        if isinstance(owner[key], nn.Parameter) and owner[key].is_contiguous():
            together.setdefault(owner[key].untyped_storage().data_ptr(), []).append(name)
    found, left = [], dict(constants)
    for names in together.values():
        mine = {name: left[name].owner[left[name].key] for name in names}
        if len(names) == 1 or len({parameter.dtype for parameter in mine.values()}) > 1:
            continue
        first = min(mine.values(), key=Tensor.storage_offset)
        starts = {name: parameter.storage_offset() - first.storage_offset() for name, parameter in mine.items()}
        size = max(starts[name] + parameter.numel() for name, parameter in mine.items())
        flat = first.detach().as_strided((size,), (1,))
        found.append(Shared(flat, [(name, starts[name], parameter.shape) for name, parameter in mine.items()]))
        for name in names:
            del left[name]
    return found, left


class Constants:
    """Parameters and buffers that a function reads and does not train.

    Attributes:
        shared, places: those in flat tensors, and single ones, see `share`.
    """

    def __init__(self, module: nn.Module, trained: Sequence[str] = ()):
        self.shared, self.places = share({name: place for name, place in places(module).items() if name not in trained})

    def flats(self) -> list[Tensor]:
        return [some.flat for some in self.shared]

    def loose(self) -> dict[str, Tensor]:
        return {name: owner[key] for name, (owner, key) in self.places.items()}

    def named(self, flats: Sequence[Tensor], loose: dict[str, Tensor]) -> dict[str, Tensor]:
        """All constants by name, from the results of `flats` and `loose`, or from traced tensors in their place."""
        members = [(flat, *member) for some, flat in zip(self.shared, flats) for member in some.members]
        return {**loose, **{name: flat[start : start + shape.numel()].view(shape) for flat, name, start, shape in members}}


def views(flats: Sequence[Tensor], shapes: Sequence[tuple[str, torch.Size]]) -> dict[str, Tensor]:
    """Named parameters as views of the flat tensors that hold them, in order; no parameter lies in two."""
    found, left = {}, list(shapes)
    for flat in flats:
        mine: list[tuple[str, torch.Size]] = []
        while sum(shape.numel() for _, shape in mine) < flat.numel():
            mine.append(left.pop(0))
        # split, because its gradient is one concatenation; each slice would have a full vector of zeros
        for (name, shape), part in zip(mine, flat.split([shape.numel() for _, shape in mine])):
            found[name] = part.view(shape)
    return found


class Bound(nn.Module):
    """A method of an agent as the `forward` of a module, because `functional_call` calls only that."""

    def __init__(self, agent: Agent, method: Callable):
        super().__init__()
        self.agent, self.method = agent, method

    def forward(self, *arguments):
        return self.method(*arguments)


class PureStep:
    """Update of one objective as a pure function.

    Args:
        unpack: turns the argument `batch` of a call into a `Batch`.
        ranks: the processes whose gradients are averaged.

    Attributes:
        groups: flat optimizers of the objective.
        constants: parameters and buffers that are not trained.
        metrics: names of the metrics of the last call.
    """

    def __init__(self, agent: Agent, name: str, unpack: Callable[..., Batch], ranks: Ranks = ALONE):
        self.ranks = ranks
        objective = agent.objectives[name]
        self.module = Bound(agent, lambda batch: agent.loss_of(name, unpack(batch)))
        self.groups: Sequence[Flat] = objective.optimizer.groups
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        self.shapes = [(names[id(parameter)], parameter.shape) for parameter in objective.parameters]
        self.constants = Constants(self.module, [name for name, _ in self.shapes])
        own = {group.flat.untyped_storage().data_ptr() for group in self.groups}
        assert not any(flat.untyped_storage().data_ptr() in own for flat in self.constants.flats()), "constants among what is trained"
        self.metrics: list[str] = []

    def gradients(self, flats: Sequence[Tensor], constants: dict[str, Tensor], batch: Sample) -> tuple[tuple[Tensor, ...], Report]:
        """Gradients with respect to the optimizer's flat tensors, and the `Report`."""

        def loss(flats: tuple[Tensor, ...]) -> tuple[Tensor | float, Report]:
            term = torch.func.functional_call(self.module, {**views(flats, self.shapes), **constants}, (batch,))
            return term.loss, term.report()

        gradients, (_, report) = torch.func.grad_and_value(loss, has_aux=True)(tuple(flats))
        return gradients, report

    def __call__(
        self, flats: Sequence[Tensor], averages: Sequence[Sequence[Tensor]], numbers: Sequence[Tensor], failed: Tensor,
        shared: Sequence[Tensor], loose: dict[str, Tensor], batch: Sample,
    ) -> list[Tensor]:  # fmt: skip
        """Update in place; nothing changes if a number is not finite.

        Args:
            flats, averages, numbers: for each flat optimizer its parameters, its averages, and the numbers of this update.
            failed: () not 0 if an earlier update was not finite.
            shared, loose: the constants.

        Returns:
            () a number that is finite if all numbers are; () the norm that the optimizer reports; the error; then the metrics, in the order
            of their names in `metrics`.
        """
        constants = self.constants.named(shared, loose)
        gradients, report = self.gradients(flats, constants, batch)
        averaged = self.ranks.mean([*gradients, report.error.sum(), *report.statistics.values()])
        gradients, (error, *statistics) = tuple(averaged[: len(flats)]), averaged[len(flats) :]
        norms = [torch.linalg.vector_norm(g) for g in gradients]
        # with the error, because Huber's may be infinite where its gradient is not; 0 times NaN or Inf is NaN
        total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
        check = total + 0.0 * error
        fine = torch.isfinite(check) & (failed == 0)
        for group, flat, mine, gradient, norm, own in zip(self.groups, flats, averages, gradients, norms, numbers):
            old = (flat, *mine)
            new = group.updated(flat, mine, group.clipped(gradient, norm), own.unbind())
            kept = [torch.where(fine, value, into) for into, value in zip(old, new)]  # as a rule may return old values
            for into, value in zip(old, kept):
                into.copy_(value)
        for name, value in zip(report.statistics, statistics):
            into = constants[f"agent.{name}"]
            into.copy_(torch.where(fine, value, into))
        self.metrics = list(report.metrics)
        return [check, norms[0], report.error, *report.metrics.values()]


class PureInference:
    """`Agent.infer` as a pure function of observations, noise and the state of a core.

    Attributes:
        constants: all parameters and buffers.
    """

    def __init__(self, agent: Agent):
        self.module = Bound(agent, agent.infer)
        self.constants = Constants(self.module)

    def __call__(self, flats: list[Tensor], loose: dict[str, Tensor], obs: Tensor, noise: NetworkNoise, *state: Tensor) -> list[Tensor]:
        output = torch.func.functional_call(self.module, self.constants.named(flats, loose), (obs, noise, *state))
        return list(output) if state else [output]


class Spelled(TorchFunctionMode):
    """`x |= y` and `x &= y` by their names, because torch cannot trace the operators behind these signs."""

    NAMES: ClassVar = {Tensor.__ior__: Tensor.bitwise_or_, Tensor.__iand__: Tensor.bitwise_and_}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.NAMES.get(function, function)(*args, **(kwargs or {}))


class PureFunction:
    """A function of an agent's networks and of nested tensors, which it may write into, as a pure function.

    Attributes:
        constants: all parameters and buffers.
        names: of the last call's results.
    """

    def __init__(self, agent: Agent, function: Callable[..., dict[str, Tensor]]):
        self.module = Bound(agent, function)
        self.constants = Constants(self.module)
        self.names: list[str] = []

    def __call__(self, flats: list[Tensor], loose: dict[str, Tensor], arguments: tuple) -> list[Tensor]:
        with Spelled():
            found = torch.func.functional_call(self.module, self.constants.named(flats, loose), arguments)
        self.names = list(found)
        return list(found.values())
