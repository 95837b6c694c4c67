"""State of an optimizer over flat parameters: its parameters are views of one tensor, and each of its averages is one tensor.

So Polyak averaging is one `lerp_` of flat tensors, a sync is one `copy_`, and a checkpoint holds few tensors. The optimizer must be built
after the module is on its device, because `module.to(...)` gives every parameter its own memory again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from deeprl.choice import bounds_above_zero
from deeprl.learning.optim.finite import HOST, Watch


class Optimizer(Protocol):
    """Interface of the choices of this folder, frozen dataclasses: `dataclasses.replace` gives one with another learning rate."""

    __dataclass_fields__: ClassVar[dict[str, Field]]

    @property
    def lr(self) -> float: ...

    @property
    def max_grad_norm(self) -> float | None:
        """Largest norm of a gradient; None: it is not clipped."""

    @property
    def schedule(self) -> Callable[[int], float] | None:
        """Factor of `lr` at an environment step, one of `deeprl.schedules`."""

    def build(self, parameters: Sequence[nn.Parameter]) -> Flat:
        """State and rule for these parameters."""


Trained = list[tuple[Sequence[nn.Parameter], Optimizer]]
"""Groups of parameters, each with its optimizer"""


def split_like(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Views of (P,) in the shapes of these tensors."""
    return [part.view(tensor.shape) for part, tensor in zip(flat.split([tensor.numel() for tensor in tensors]), tensors)]


def write_(tensors: Sequence[Tensor], flat: Tensor) -> None:
    """Copy (P,) into these tensors."""
    for tensor, part in zip(tensors, split_like(flat, tensors)):
        tensor.copy_(part)


def flatten_(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Make the parameters views of one flat tensor with the same values, and return that tensor. In-place copies (`load_state_dict`,
    `copy_`) keep them views.

    Raises:
        ValueError: there are no parameters, or several types or devices.
    """
    parameters = list(parameters)
    if not parameters:
        raise ValueError("there are no parameters to flatten")
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) > 1:
        raise ValueError(f"parameters of one optimizer share a type and a device, not {sorted(map(str, kinds))}")
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    for p, view in zip(parameters, split_like(flat, parameters)):
        p.data = view
    return flat


def check(choice: Optimizer) -> None:
    """Check what every optimizer has.

    Raises:
        ValueError: `max_grad_norm` or `schedule` is out of range.
    """
    bounds_above_zero(choice, "max_grad_norm")
    if choice.schedule is not None and not callable(choice.schedule):
        raise ValueError(
            f"schedule must be one of deeprl.schedules, not {choice.schedule!r}: set schedule.start, .end and .duration; "
            "schedule._target_=deeprl.schedules.Cosine is half a cosine in place of a line"
        )
    for end in ("value", "start", "end"):  # of whatever schedule it is
        if getattr(choice.schedule, end, 0) < 0:
            raise ValueError(f"schedule.{end} is a factor of the learning rate, at least 0, not {getattr(choice.schedule, end)}")


def two_betas(given: object) -> tuple[float, float]:
    """β₁ and β₂.

    Raises:
        ValueError: they are not two numbers in [0, 1).
    """
    betas = tuple(given) if isinstance(given, (list, tuple)) else ()
    if len(betas) != 2 or not all(isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers in [0, 1), not {given!r}")
    return betas


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """() norm of all gradients together."""
    if len(gradients) == 1:
        return torch.linalg.vector_norm(gradients[0])
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))


class Flat:
    """Base class of an optimizer's state. A rule adds its averages and `updated`; one whose steps are made in place, faster or in another
    rounding, has a `step` of its own.

    Attributes:
        flat: (P,) the parameters; `parameters` are views of it.
        groups: flat optimizers, one for each group of parameters; here only itself.
        taken: updates so far.
    """

    taken = 0
    averages: tuple[str, ...] = ()
    """Names of the tensors in a checkpoint, without the parameters, which belong to their modules."""

    def __init__(self, choice, parameters: Sequence[nn.Parameter]):
        self.choice, self.parameters = choice, list(parameters)
        self.flat = flatten_(self.parameters)
        self.groups: Sequence[Flat] = [self]

    def check(self, gradients: Sequence[Tensor]) -> None:
        """
        Raises:
            ValueError: the number of gradients or a shape differs from the parameters.
        """
        if len(gradients) != len(self.parameters) or any(g.shape != p.shape for g, p in zip(gradients, self.parameters)):
            shapes = [tuple(g.shape) for g in gradients], [tuple(p.shape) for p in self.parameters]
            raise ValueError(f"gradients have shapes {shapes[0]}, parameters {shapes[1]}")

    def clipped(self, gradient: Tensor, norm: Tensor) -> Tensor:
        """The flat gradient, scaled to a norm of at most `max_grad_norm`. `FlatAdam.step` has the same arithmetic for lists."""
        most = self.choice.max_grad_norm
        return gradient if most is None else gradient * (most / (norm + 1e-6)).clamp(max=1.0)

    def joined(self, gradients: Sequence[Tensor], watch: Watch) -> tuple[Tensor, Tensor]:
        """The gradient (P,), clipped, and () its norm before. Arguments and errors are those of `step`."""
        self.check(gradients)
        gradient = torch.cat([g.reshape(-1) for g in gradients])
        norm = torch.linalg.vector_norm(gradient)
        watch(norm, "the norm of its gradient")
        return self.clipped(gradient, norm), norm

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], step: int, watch: Watch = HOST) -> Tensor:
        """Update the parameters in place.

        Args:
            gradients: in the order and shapes of `parameters`, with any strides; they are not changed.
            step: environment step, for the schedule.
            watch: stops updates that are not finite.

        Returns:
            () the norm of the gradient before clipping, on its device.

        Raises:
            ValueError: the number of gradients or a shape differs from the parameters.
            NotFinite: the norm is not finite, and nothing was changed; on a CPU, see `deeprl.learning.optim.finite.Watch`.
        """
        gradient, norm = self.joined(gradients, watch)
        averages = self.tensors()
        old, new = (self.flat, *averages), self.updated(self.flat, averages, gradient, self.numbers(step))
        places = {tensor.data_ptr() for tensor in old}
        for into, value in [(a, b.clone() if b is not a and b.data_ptr() in places else b) for a, b in zip(old, new)]:
            watch.store(into, value)  # clones: a rule may keep the parameters of before as an average
        self.taken += 1
        return norm

    def numbers(self, step: int) -> tuple[float, ...]:
        """Arguments of `updated` for the next update: the learning rate at an environment step, and numbers that depend on it."""
        return (self.rate(step),)

    def updated(self, flat: Tensor, averages: Sequence[Tensor], gradient: Tensor, numbers: Sequence[Tensor | float]) -> tuple[Tensor, ...]:
        """The rule as a pure function, for compiling too: parameters and averages after an update.

        Args:
            flat, averages: before the update; averages in the order of their names.
            gradient: (P,) clipped.
            numbers: of this update, () float32 each when it is compiled.
        """
        raise NotImplementedError

    def rate(self, step: int) -> float:
        """Learning rate at an environment step."""
        choice = self.choice
        return choice.lr if choice.schedule is None else choice.lr * choice.schedule(step)

    def tensors(self) -> list[Tensor]:
        """The averages."""
        return [getattr(self, name) for name in self.averages]

    def reset(self) -> None:
        """Set the averages to their values before the first update, those of an optimizer of the parameters as they are now."""
        new = self.choice.build([nn.Parameter(parameter.detach().clone(), requires_grad=False) for parameter in self.parameters])
        for own, begun in zip(self.tensors(), new.tensors(), strict=True):
            own.copy_(begun)
        self.taken = 0

    def state_dict(self) -> dict[str, Tensor]:
        counted = {} if "count" in self.averages else {"taken": torch.tensor(self.taken)}
        return dict(zip(self.averages, self.tensors())) | counted

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """
        Raises:
            ValueError: the averages belong to another number of parameters.
        """
        for name, own in zip(self.averages, self.tensors()):
            if state[name].shape != own.shape:
                raise ValueError(f"the optimizer has {own.numel()} numbers in {name}, its saved state {state[name].numel()}")
            own.copy_(state[name])
        self.taken = int(state.get("count", state.get("taken", 0)))


class Groups:
    """One optimizer for several groups of parameters with one loss.

    Each group is clipped by its own norm, so that a group with zero gradient does not change the others, bit for bit.

    Args:
        groups: (parameters, choice of `deeprl.learning.optim`); norm and rate of the first group are reported.
    """

    def __init__(self, groups: Trained):
        self.groups = [choice.build(parameters) for parameters, choice in groups]
        self.parameters = [parameter for group in self.groups for parameter in group.parameters]

    def step(self, gradients: Sequence[Tensor], step: int, watch: Watch = HOST) -> Tensor:
        """Update all groups in place, see `Flat.step`."""
        watch(total_norm(gradients), "the norm of its gradient")  # before any group changes
        norms, left = [], list(gradients)
        for group in self.groups:
            count = len(group.parameters)
            mine, left = left[:count], left[count:]
            norms.append(group.step(mine, step, watch))
        if left:
            raise ValueError(f"{len(gradients)} gradients for {len(self.parameters)} parameters")
        return norms[0]

    def rate(self, step: int) -> float:
        return self.groups[0].rate(step)

    def tensors(self) -> list[Tensor]:
        """The averages of all groups."""
        return [tensor for group in self.groups for tensor in group.tensors()]

    def reset(self) -> None:
        """See `Flat.reset`."""
        for group in self.groups:
            group.reset()

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        return {str(i): group.state_dict() for i, group in enumerate(self.groups)}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        for i, group in enumerate(self.groups):
            group.load_state_dict(state[str(i)])
