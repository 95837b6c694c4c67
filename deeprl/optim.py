"""Adam over flat state: the parameters of one optimizer are views of one tensor, and so are each of its moments.

One fused operator updates everything, Polyak averaging is one `lerp_` and a sync one `copy_` of flat tensors, and a checkpoint holds three
tensors. Build it after the module is on its device: `module.to(...)` gives every parameter memory of its own again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range
from deeprl.finite import Watch


def flatten_(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Make the parameters views of one flat tensor, values kept, and return it. In-place copies into them (`load_state_dict`,
    `copy_`) keep them views.

    Raises:
        ValueError: no parameters, or several types or devices.
    """
    parameters = list(parameters)
    if not parameters:
        raise ValueError("there are no parameters to flatten")
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) > 1:
        raise ValueError(f"parameters of one optimizer share a type and a device, not {sorted(map(str, kinds))}")
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    for p, view in zip(parameters, flat.split([p.numel() for p in parameters])):
        p.data = view.view(p.shape)
    return flat


@dataclass(frozen=True)
class Adam(Choice):
    """Adam (Kingma and Ba, 2015); with `weight_decay` AdamW (Loshchilov and Hutter, 2019), decoupled.

    `eps` is part of the algorithm on Atari, where 1e-8 is wrong by four orders of magnitude. `schedule`, one of
    `deeprl.schedules`, multiplies `lr`; `max_grad_norm` clips the global norm.
    """

    lr: float
    eps: float = 1e-8
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    schedule: Callable[[int], float] | None = None

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(self.betas))
        in_range(self, lr=(0, None), eps=(0, None), weight_decay=(0, None))
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), not {list(self.betas)}")
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive or null, not {self.max_grad_norm}")

    def build(self, parameters: Sequence[nn.Parameter]) -> FlatAdam:
        return FlatAdam(self, parameters)


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """() over all of them."""
    if len(gradients) == 1:
        return torch.linalg.vector_norm(gradients[0])
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))


class Flat:
    """What the state of an optimizer has, whatever its rule; a rule adds its averages and `step`.

    Attributes:
        flat: (P,) the parameters; `parameters` are views of it.
        flats: all there are, here [flat].
        watch: stops updates that are not finite; the optimizers of an agent share one.
        taken: steps so far, where the rule depends on it.
    """

    taken = 0
    averages: tuple[str, ...] = ()
    """Names of the tensors that a checkpoint needs; the parameters belong to their modules."""

    def __init__(self, choice, parameters: Sequence[nn.Parameter]):
        self.choice, self.parameters = choice, list(parameters)
        self.flat = flatten_(self.parameters)
        self.flats = [self.flat]
        self.watch = Watch(self.flat.device)

    def check(self, gradients: Sequence[Tensor]) -> None:
        """
        Raises:
            ValueError: another number of gradients than of parameters, or another shape.
        """
        if len(gradients) != len(self.parameters) or any(g.shape != p.shape for g, p in zip(gradients, self.parameters)):
            shapes = [tuple(g.shape) for g in gradients], [tuple(p.shape) for p in self.parameters]
            raise ValueError(f"gradients have shapes {shapes[0]}, parameters {shapes[1]}")

    def clipped(self, gradient: Tensor, norm: Tensor) -> Tensor:
        """A flat gradient whose norm is at most `max_grad_norm`."""
        most = self.choice.max_grad_norm
        return gradient if most is None else gradient * (most / (norm + 1e-6)).clamp(max=1.0)

    def numbers(self, step: int) -> tuple[float, ...]:
        """What `moved` wants for the next step, the learning rate at an environment step and what depends on it."""
        raise NotImplementedError

    def moved(self, flat: Tensor, averages: Sequence[Tensor], gradient: Tensor, numbers: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The rule as a pure function, for compiling: the parameters and averages after a step.

        Args:
            flat, averages: before the step; the averages in the order of their names.
            gradient: (P,) clipped.
            numbers: of this step, () float32 each.
        """
        raise NotImplementedError

    def rate(self, step: int) -> float:
        """Learning rate at an environment step."""
        choice = self.choice
        return choice.lr if choice.schedule is None else choice.lr * choice.schedule(step)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        Raises:
            ValueError: averages of another number of parameters.
        """
        if state["square"].shape != self.flat.shape:
            raise ValueError(f"the optimizer has {self.flat.numel()} parameters, its saved state {state['square'].numel()}")
        for name, own in self.state_dict().items():
            own.copy_(state[name])


class FlatAdam(Flat):
    """The state of one `Adam`."""

    averages = ("moment", "square", "count")

    def __init__(self, choice: Adam, parameters: Sequence[nn.Parameter]):
        super().__init__(choice, parameters)
        self.moment, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.count = torch.zeros((), dtype=torch.float32, device=self.flat.device)
        # Lists of views and not the flat tensors: gradients need no copy into a flat one (0.5 ms of a Nature network's update).
        values, counts = [p.detach() for p in self.parameters], [self.count] * len(self.parameters)
        self._lists = values, self._views(self.moment), self._views(self.square), counts
        self._fused = torch._fused_adamw_ if choice.weight_decay else torch._fused_adam_

    def _views(self, flat: Tensor) -> list[Tensor]:
        return [view.view(p.shape) for view, p in zip(flat.split([p.numel() for p in self.parameters]), self.parameters)]

    def numbers(self, step: int) -> tuple[float, ...]:
        # not in `moved`: 1 - 0.999 has four digits in float32, and a compiler would take powers at every element
        (first, second), rate, count = self.choice.betas, self.rate(step), self.taken + 1
        return rate / (1.0 - first**count), 1.0 / math.sqrt(1.0 - second**count), 1.0 - rate * self.choice.weight_decay

    def moved(self, flat: Tensor, averages: Sequence[Tensor], gradient: Tensor, numbers: Sequence[Tensor]) -> tuple[Tensor, ...]:
        moment, square, count = averages
        first, second = self.choice.betas
        size, root, keep = numbers
        moment = torch.lerp(moment, gradient, 1.0 - first)
        square = second * square + (1.0 - second) * gradient.square()
        if self.choice.weight_decay:
            flat = flat * keep
        return flat - size * moment / (square.sqrt() * root + self.choice.eps), moment, square, count + 1.0

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.taken = int(self.count)

    def step(self, gradients: Sequence[Tensor], step: int) -> Tensor:
        """One update in place.

        Args:
            gradients: in the order and shapes of `parameters`, any strides; they are left as they are.
            step: environment step, for the schedule.

        Returns:
            () the norm of the gradient before clipping, on its device.

        Raises:
            ValueError: another number of gradients, or another shape.
            NotFinite: the norm is not finite, and nothing was changed; on a CPU, see `deeprl.finite.Watch`.
        """
        choice = self.choice
        self.check(gradients)
        values, moments, squares, counts = self._lists
        with torch.no_grad():
            # The fused operator reads memory order: a transposed gradient would silently update the wrong weights.
            gradients = [g.contiguous() for g in gradients]
            norm = total_norm(gradients)
            self.watch(norm, "the norm of its gradient")
            if choice.max_grad_norm is not None:
                # Not in place: autograd may hand out one tensor for two parameters.
                gradients = torch._foreach_mul(gradients, (choice.max_grad_norm / (norm + 1e-6)).clamp_(max=1.0))
            self.taken += 1
            self.count += 1
            self._fused(
                values, gradients, moments, squares, [], counts,
                lr=self.rate(step),
                beta1=choice.betas[0], beta2=choice.betas[1], weight_decay=choice.weight_decay, eps=choice.eps,
                amsgrad=False, maximize=False, grad_scale=None,
                found_inf=None if self.watch.immediate else self.watch.failed,
            )  # fmt: skip
        return norm


class Groups:
    """One optimizer for several groups of parameters, each with a multiple of the learning rate, from one gradient.

    Each group is clipped by its own norm, so that a group whose gradient is zero leaves the others as they are, bit for bit.

    Args:
        choice: of every group.
        groups: (parameters, multiple of the learning rate); the first one's norm and rate are reported.
    """

    def __init__(self, choice: Adam, groups: Sequence[tuple[Sequence[nn.Parameter], float]]):
        self.groups = [replace(choice, lr=choice.lr * multiple).build(parameters) for parameters, multiple in groups]
        self.parameters = [parameter for group in self.groups for parameter in group.parameters]

    @property
    def flats(self) -> list[Tensor]:
        """The flat parameters of each group."""
        return [group.flat for group in self.groups]

    @property
    def watch(self) -> Watch:
        """One for all groups."""
        return self.groups[0].watch

    @watch.setter
    def watch(self, watch: Watch) -> None:
        for group in self.groups:
            group.watch = watch

    def step(self, gradients: Sequence[Tensor], step: int) -> Tensor:
        """See `FlatAdam.step`."""
        self.watch(total_norm(gradients), "the norm of its gradient")  # before any group moves
        norms, left = [], list(gradients)
        for group in self.groups:
            count = len(group.parameters)
            mine, left = left[:count], left[count:]
            norms.append(group.step(mine, step))
        if left:
            raise ValueError(f"{len(gradients)} gradients for {len(self.parameters)} parameters")
        return norms[0]

    def rate(self, step: int) -> float:
        return self.groups[0].rate(step)

    def state_dict(self) -> dict[str, Any]:
        return {str(i): group.state_dict() for i, group in enumerate(self.groups)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, group in enumerate(self.groups):
            group.load_state_dict(state[str(i)])
