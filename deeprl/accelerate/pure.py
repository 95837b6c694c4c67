"""An agent's optimizer step and its answer as functions of tensors alone: what can be traced and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from deeprl.agent import Agent
from deeprl.optim.flat import Flat
from deeprl.types import Batch, Learned


class Place(NamedTuple):
    """Where a module keeps a parameter or buffer, which it may replace."""

    owner: dict[str, Any]
    key: str


def places(module: nn.Module) -> dict[str, Place]:
    """Of every parameter and buffer, by the name that `functional_call` knows it by."""
    found: dict[str, Place] = {}
    for name in [*(name for name, _ in module.named_parameters()), *(name for name, _ in module.named_buffers())]:
        path, _, key = name.rpartition(".")
        inner = module.get_submodule(path)
        found[name] = Place(inner._parameters if key in inner._parameters else inner._buffers, key)
    return found


class Shared(NamedTuple):
    """Parameters stored in one flat tensor. The compiled code takes that tensor as a single argument, because every argument adds call
    overhead."""

    flat: Tensor
    members: list[tuple[str, int, torch.Size]]
    """Name, place of the first number, shape"""


def share(constants: dict[str, Place]) -> tuple[list[Shared], dict[str, Place]]:
    """Parameters that lie together in memory, as targets and what other optimizers train do; and all that is left.

    Parameters are taken to stay where they are: they are written into, never replaced. Buffers may be replaced.
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
    """The parameters and buffers that a function reads and does not train.

    Attributes:
        shared, places: in flat tensors, and alone, see `share`.
    """

    def __init__(self, module: nn.Module, trained: Sequence[str] = ()):
        self.shared, self.places = share({name: place for name, place in places(module).items() if name not in trained})

    def flats(self) -> list[Tensor]:
        return [some.flat for some in self.shared]

    def loose(self) -> dict[str, Tensor]:
        return {name: owner[key] for name, (owner, key) in self.places.items()}

    def named(self, flats: Sequence[Tensor], loose: dict[str, Tensor]) -> dict[str, Tensor]:
        """All of them by name, from the results of `flats` and `loose` or what stands for these."""
        members = [(flat, *member) for some, flat in zip(self.shared, flats) for member in some.members]
        return {**loose, **{name: flat[start : start + shape.numel()].view(shape) for flat, name, start, shape in members}}


def views(flats: Sequence[Tensor], shapes: Sequence[tuple[str, torch.Size]]) -> dict[str, Tensor]:
    """Named parameters from the flat tensors that hold them, in order; none lies in two."""
    found, left = {}, list(shapes)
    for flat in flats:
        mine: list[tuple[str, torch.Size]] = []
        while sum(shape.numel() for _, shape in mine) < flat.numel():
            mine.append(left.pop(0))
        # The gradient of a split is one concatenation; that of slices would be a full vector of zeros for each.
        for (name, shape), part in zip(mine, flat.split([shape.numel() for _, shape in mine])):
            found[name] = part.view(shape)
    return found


class Bound(nn.Module):
    """A method of an agent as the `forward` of a module, which is what `functional_call` can call."""

    def __init__(self, agent: Agent, method: Callable):
        super().__init__()
        self.agent, self.method = agent, method

    def forward(self, *arguments):
        return self.method(*arguments)


class PureStep:
    """The optimizer step of one objective.

    Args:
        unpack: makes a `Batch` of what the step is called with.

    Attributes:
        parts: the flat optimizers that make the step.
        constants: everything that is not trained.
        metrics: names of what the last call reported.
    """

    def __init__(self, agent: Agent, name: str, unpack: Callable[[Any], Batch]):
        objective = agent.objectives[name]
        self.module = Bound(agent, lambda batch: objective.loss(unpack(batch)))
        self.parts: Sequence[Flat] = objective.optimizer.parts
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        self.shapes = [(names[id(parameter)], parameter.shape) for parameter in objective.parameters]
        self.constants = Constants(self.module, [name for name, _ in self.shapes])
        own = {part.flat.untyped_storage().data_ptr() for part in self.parts}
        assert not any(flat.untyped_storage().data_ptr() in own for flat in self.constants.flats()), "constants among what is trained"
        self.metrics: list[str] = []

    def gradients(self, flats: Sequence[Tensor], constants: dict[str, Tensor], batch: Any) -> tuple[tuple[Tensor, ...], Learned]:
        """With respect to the optimizer's flat tensors."""

        def loss(flats: tuple[Tensor, ...]) -> tuple[Tensor, Learned]:
            return torch.func.functional_call(self.module, {**views(flats, self.shapes), **constants}, (batch,))

        gradients, (_, learned) = torch.func.grad_and_value(loss, has_aux=True)(tuple(flats))
        return gradients, learned

    def __call__(
        self, flats: Sequence[Tensor], averages: Sequence[Sequence[Tensor]], numbers: Sequence[Tensor], failed: Tensor,
        shared: Sequence[Tensor], loose: dict[str, Tensor], batch: Any,
    ) -> list[Tensor]:  # fmt: skip
        """One step in place, unless something is not finite: then nothing changes.

        Args:
            flats, averages, numbers: of each part its parameters, its averages, and the numbers of this step.
            failed: () not 0 if an earlier step was not finite.
            shared, loose: the constants.

        Returns:
            () a number that is finite if everything is; () the norm that the optimizer reports; the error; then the metrics, whose names
            are left in `metrics`.
        """
        gradients, learned = self.gradients(flats, self.constants.named(shared, loose), batch)
        norms = [torch.linalg.vector_norm(g) for g in gradients]
        # the error may be infinite where the gradient is not, as Huber's; 0 times NaN or Inf is NaN
        total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
        check = total + 0.0 * learned.error.sum()
        fine = torch.isfinite(check) & (failed == 0)
        for part, flat, mine, gradient, norm, own in zip(self.parts, flats, averages, gradients, norms, numbers):
            old = (flat, *mine)
            new = part.moved(flat, mine, part.clipped(gradient, norm), own.unbind())
            for into, value in zip(old, new):
                into.copy_(torch.where(fine, value, into))
        self.metrics = list(learned.metrics)
        return [check, norms[0], learned.error, *learned.metrics.values()]


class PureAnswer:
    """`Agent.answer`, of observations and noise.

    Attributes:
        constants: all parameters and buffers.
    """

    def __init__(self, agent: Agent):
        self.module = Bound(agent, agent.answer)
        self.constants = Constants(self.module)

    def __call__(self, flats: list[Tensor], loose: dict[str, Tensor], obs: Tensor, noise: Any) -> list[Tensor]:
        return [torch.func.functional_call(self.module, self.constants.named(flats, loose), (obs, noise))]
