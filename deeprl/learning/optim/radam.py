"""Rectified Adam (Liu and others, ICLR 2020): momentum alone until the variance of Adam's scale is small, Adam with a smaller rate then.

    ρ_∞ = 2 / (1 − β₂) − 1,     ρ_t = ρ_∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
    ρ_t > 5:   θ ← θ − lr r_t m̂ √(1 − β₂ᵗ) / (√v + ε),     r_t = √[(ρ_t − 4)(ρ_t − 2) ρ_∞ / ((ρ_∞ − 4)(ρ_∞ − 2) ρ_t)]
    else:      θ ← θ − lr m̂

ε stands where PyTorch has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range
from deeprl.learning.optim.flat import Flat, check, two_betas


@dataclass(frozen=True)
class RAdam(Choice):
    """RAdam.

    Args:
        lr: learning rate; `schedule`, one of `deeprl.schedules`, multiplies it.
        betas, eps: β₁ and β₂, ε.
        max_grad_norm: clips the norm over all parameters of the optimizer; with `Groups`, of each group.
    """

    lr: float
    eps: float = 1e-8
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float | None = None
    schedule: Callable[[int], float] | None = None

    def __post_init__(self):
        object.__setattr__(self, "betas", two_betas(self.betas))
        in_range(self, lr=(0, None), eps=(1e-30, None))
        check(self)

    def build(self, parameters: Sequence[nn.Parameter]) -> FlatRAdam:
        return FlatRAdam(self, parameters)

    def rectified(self, t: int) -> float | None:
        """r_t √(1 − β₂ᵗ) at update t, counted from 1; None while the scale is not used."""
        power, largest = self.betas[1] ** t, 2 / (1 - self.betas[1]) - 1
        rho = largest - 2 * t * power / (1 - power)
        if rho <= 5:
            return None
        ratio = (rho - 4) * (rho - 2) * largest / ((largest - 4) * (largest - 2) * rho)
        return math.sqrt(ratio * (1 - power))


class FlatRAdam(Flat):
    """State and rule of one `RAdam`."""

    averages = ("moment", "square", "count")

    def __init__(self, choice: RAdam, parameters: Sequence[nn.Parameter]):
        super().__init__(choice, parameters)
        self.moment, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.count = torch.zeros((), dtype=torch.float32, device=self.flat.device)

    def numbers(self, step: int) -> tuple[float, ...]:
        """Step size lr / (1 − β₁ᵗ), the factor of the scale, and whether the scale is used."""
        t = self.taken + 1
        factor = self.choice.rectified(t)
        return self.rate(step) / (1.0 - self.choice.betas[0] ** t), factor or 0.0, float(factor is not None)

    def updated(self, flat: Tensor, averages: Sequence[Tensor], gradient: Tensor, numbers: Sequence[Tensor | float]) -> tuple[Tensor, ...]:
        moment, square, count = averages
        first, second = self.choice.betas
        size, factor, scaled = numbers
        moment = torch.lerp(moment, gradient, 1.0 - first)
        square = second * square + (1.0 - second) * gradient.square()
        scale = scaled * factor / (square.sqrt() + self.choice.eps) + (1.0 - scaled)
        return flat - size * moment * scale, moment, square, count + 1.0
