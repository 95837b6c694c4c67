"""One objective of an agent as a function of tensors alone: what can be traced and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from deeprl.agent import Agent
from deeprl.optim.flat import Flat
from deeprl.types import Batch, Learned


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


class Place(NamedTuple):
    """Where a module keeps a parameter or buffer, which it may replace."""

    owner: dict[str, Any]
    key: str


def places(agent: nn.Module) -> dict[str, Place]:
    """Of every parameter and buffer, by the name that `functional_call` knows it by."""
    found: dict[str, Place] = {}
    names = [*(name for name, _ in agent.named_parameters()), *(name for name, _ in agent.named_buffers())]
    for name in names:
        path, _, key = name.rpartition(".")
        module = agent.get_submodule(path)
        owner = module._parameters if key in module._parameters else module._buffers
        found[name] = Place(owner, key)
    return found


class Shared(NamedTuple):
    """Parameters that are views of one flat tensor: to compiled code one argument, of which each costs some."""

    flat: Tensor
    members: list[tuple[str, int, torch.Size]]
    """Name, place of the first number, shape"""


def unpacked(shared: Sequence[Shared], flats: Sequence[Tensor], loose: dict[str, Tensor]) -> dict[str, Tensor]:
    """By name, from the flat tensors and what is apart."""
    members = [(flat, *member) for some, flat in zip(shared, flats) for member in some.members]
    return {**loose, **{name: flat[start : start + shape.numel()].view(shape) for flat, name, start, shape in members}}


def share(constants: dict[str, Place]) -> tuple[list[Shared], dict[str, Place]]:
    """Parameters that lie in memory together, as targets and what other optimizers train do; and all that is left.

    They are taken to stay where they are: parameters are written into, never replaced. Buffers may be.
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


class Pure:
    """One objective of an agent as a function of tensors alone.

    Attributes:
        constants: where everything that is not trained lies, by name.
        shared, loose: the same in two kinds, see `share`.
        metrics: names of what the last call of `step` reported.
    """

    def __init__(self, agent: Agent, name: str, unpack: Callable[[Any], Batch] | None = None):
        self.agent, self.name, self.unpack = agent, name, unpack
        self.optimizer = agent.objectives[name].optimizer
        names = {id(parameter): name for name, parameter in agent.named_parameters()}
        self.shapes = [(names[id(parameter)], parameter.shape) for parameter in self.optimizer.parameters]
        trained = {name for name, _ in self.shapes}
        self.constants = {name: place for name, place in places(agent).items() if name not in trained}
        self.shared, self.loose = share(self.constants)
        own = {flat.untyped_storage().data_ptr() for flat in self.optimizer.flats}
        assert not any(some.flat.untyped_storage().data_ptr() in own for some in self.shared), "constants among what is trained"
        self.metrics: list[str] = []

    def gradients(self, flats: Sequence[Tensor], constants: dict[str, Tensor], batch: Any) -> tuple[tuple[Tensor, ...], Learned]:
        """With respect to the optimizer's flat tensors."""

        def loss(flats: tuple[Tensor, ...]) -> tuple[Tensor, Learned]:
            tensors = {**views(flats, self.shapes), **constants}
            return torch.func.functional_call(self.agent, tensors, (self.name, batch, self.unpack))

        gradients, (_, learned) = torch.func.grad_and_value(loss, has_aux=True)(tuple(flats))
        return gradients, learned

    def step(
        self, flats: Sequence[Tensor], averages: Sequence[Sequence[Tensor]], numbers: Sequence[Tensor], failed: Tensor,
        shared: Sequence[Tensor], loose: dict[str, Tensor], batch: Any,
    ) -> list[Tensor]:  # fmt: skip
        """One step in place, unless something is not finite: then nothing changes.

        Args:
            shared, loose: see the attributes; of `shared` the flat tensors.

        Returns:
            () a number that is finite if everything is; () the norm that the optimizer reports; the error; then the metrics, whose names
            are left in `metrics`.
        """
        gradients, learned = self.gradients(flats, unpacked(self.shared, shared, loose), batch)
        norms = [torch.linalg.vector_norm(g) for g in gradients]
        # the error may be infinite where the gradient is not, as Huber's; 0 times NaN or Inf is NaN
        total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
        check = total + 0.0 * learned.error.sum()
        fine = torch.isfinite(check) & (failed == 0)
        for part, flat, mine, gradient, norm, own in zip(parts(self.optimizer), flats, averages, gradients, norms, numbers):
            old = (flat, *mine)
            new = part.moved(flat, mine, part.clipped(gradient, norm), own.unbind())
            for into, value in zip(old, new):
                into.copy_(torch.where(fine, value, into))
        self.metrics = list(learned.metrics)
        return [check, norms[0], learned.error, *learned.metrics.values()]


def parts(optimizer) -> Sequence[Flat]:
    """The flat optimizers that one consists of."""
    return getattr(optimizer, "groups", None) or [optimizer]
