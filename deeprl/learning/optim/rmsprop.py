"""RMSProp in TensorFlow's form: epsilon inside the square root, and a squared average that starts at one.

    s ← ρ s + (1 − ρ) g²,     m ← ρ m + (1 − ρ) g   (0 unless centered),     θ ← θ − v,     v ← momentum · v + lr · g / √(s − m² + ε)

Dopamine's agents before JAX, LogDQN and MapDQN use it. `torch.optim.RMSprop` has ε outside the root and starts at 0: with ε = 1e-5 its
damping is 300 times smaller (1e-5 against √1e-5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range
from deeprl.learning.optim.finite import HOST, Watch
from deeprl.learning.optim.flat import Flat, check


@dataclass(frozen=True)
class RMSProp(Choice):
    """RMSProp with an optional momentum.

    Args:
        lr: learning rate; `schedule`, one of `deeprl.schedules`, multiplies it.
        decay: ρ.
        eps: ε, in units of a squared gradient.
        centered: divide by the standard deviation of the gradient, not by its root mean square.
        initial: value at which the squared average starts.
        max_grad_norm: clips the norm over all parameters of the optimizer; with `Groups`, of each group.
    """

    lr: float
    decay: float = 0.95
    momentum: float = 0.0
    eps: float = 1e-5
    centered: bool = True
    initial: float = 1.0
    max_grad_norm: float | None = None
    schedule: Callable[[int], float] | None = None

    def __post_init__(self):
        in_range(self, lr=(0, None), decay=(0, 1), momentum=(0, 1), eps=(0, None), initial=(0, None))
        check(self)

    def build(self, parameters: Sequence[nn.Parameter]) -> FlatRMSProp:
        return FlatRMSProp(self, parameters)


class FlatRMSProp(Flat):
    """State and rule of one `RMSProp`."""

    averages = ("square", "moment", "velocity")

    def __init__(self, choice: RMSProp, parameters: Sequence[nn.Parameter]):
        super().__init__(choice, parameters)
        self.square = torch.full_like(self.flat, choice.initial)
        self.moment, self.velocity = torch.zeros_like(self.flat), torch.zeros_like(self.flat)

    def updated(self, flat: Tensor, averages: Sequence[Tensor], gradient: Tensor, numbers: Sequence[Tensor | float]) -> tuple[Tensor, ...]:
        choice = self.choice
        square, moment, velocity = averages
        square = torch.lerp(square, gradient.square(), 1.0 - choice.decay)
        if choice.centered:
            moment = torch.lerp(moment, gradient, 1.0 - choice.decay)
        # rounding may leave a variance just below zero
        spread = ((square - moment.square()).clamp(min=0.0) + choice.eps).sqrt()
        velocity = choice.momentum * velocity + numbers[0] * gradient / spread
        return flat - velocity, square, moment, velocity

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], step: int, watch: Watch = HOST) -> Tensor:
        """In place, in the rounding that stored runs have."""
        choice = self.choice
        gradient, norm = self.joined(gradients, watch)
        self.square.lerp_(gradient.square(), 1 - choice.decay)
        if choice.centered:
            self.moment.lerp_(gradient, 1 - choice.decay)
        # rounding may leave a variance just below zero
        spread = (self.square - self.moment.square()).clamp_(min=0.0).add_(choice.eps).sqrt_()
        self.velocity.mul_(choice.momentum).addcdiv_(gradient, spread, value=self.rate(step))
        if not watch.immediate:
            self.velocity.masked_fill_(watch.failed > 0, 0.0)
        self.flat.sub_(self.velocity)
        self.taken += 1
        return norm
