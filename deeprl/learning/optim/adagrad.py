"""AdaGrad with one sum for all parameters, or one for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range, one_of
from deeprl.learning.optim.flat import Flat, check


@dataclass(frozen=True)
class AdaGrad(Choice):
    """θ ← θ − lr g / √(initial + Σ g²) (Duchi, Hazan, Singer, 2011).

    Args:
        lr: learning rate; `schedule` multiplies it.
        form: "norm": one sum, of ‖g‖², for all parameters; "coordinates": one for each.
        initial: of the sums.
        max_grad_norm: clips the norm of the gradient.
    """

    lr: float
    form: str = "norm"
    initial: float = 1e-8
    max_grad_norm: float | None = None
    schedule: Callable[[int], float] | None = None

    def __post_init__(self):
        in_range(self, lr=(0, None), initial=(1e-30, None))
        one_of(self, form=("norm", "coordinates"))
        check(self)

    def build(self, parameters: Sequence[nn.Parameter]) -> FlatAdaGrad:
        return FlatAdaGrad(self, parameters)


class FlatAdaGrad(Flat):
    """State and rule of one `AdaGrad`; the sum of all is written to each place."""

    averages = ("square",)

    def __init__(self, choice: AdaGrad, parameters: Sequence[nn.Parameter]):
        super().__init__(choice, parameters)
        self.square = torch.full_like(self.flat, choice.initial)

    def updated(self, flat: Tensor, averages: Sequence[Tensor], gradient: Tensor, numbers: Sequence[Tensor | float]) -> tuple[Tensor, ...]:
        square = gradient.square()
        square = averages[0] + (square.sum() if self.choice.form == "norm" else square)
        return flat - numbers[0] * gradient / square.sqrt(), square
