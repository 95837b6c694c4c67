"""Gradient descent without averages: θ ← θ − lr g.

On ½ (θ − x)² it is the moving average θ ← (1 − lr) θ + lr x. So a moving average of numbers that a loss computes is updated with the
networks, also in compiled code, where a loss cannot write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range
from deeprl.optim.finite import HOST, Watch
from deeprl.optim.flat import Flat


@dataclass(frozen=True)
class SGD(Choice):
    """Gradient descent.

    Args:
        lr: learning rate; `schedule`, one of `deeprl.schedules`, multiplies it.
        max_grad_norm: clips the norm over all parameters of the optimizer; with `Groups`, of each group.
    """

    lr: float
    max_grad_norm: float | None = None
    schedule: Callable[[int], float] | None = None

    def __post_init__(self):
        in_range(self, lr=(0, None))

    def build(self, parameters: Sequence[nn.Parameter]) -> FlatSGD:
        return FlatSGD(self, parameters)


class FlatSGD(Flat):
    """Rule of one `SGD`."""

    def numbers(self, step: int) -> tuple[float, ...]:
        return (self.rate(step),)

    def updated(self, flat: Tensor, averages: Sequence[Tensor], gradient: Tensor, numbers: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (flat - numbers[0] * gradient,)

    def step(self, gradients: Sequence[Tensor], step: int, watch: Watch = HOST) -> Tensor:
        """Update the parameters in place; arguments, result and errors are those of `FlatAdam.step`."""
        self.check(gradients)
        with torch.no_grad():
            gradient = torch.cat([g.reshape(-1) for g in gradients])
            norm = torch.linalg.vector_norm(gradient)
            watch(norm, "the norm of its gradient")
            change = self.rate(step) * self.clipped(gradient, norm)
            if not watch.immediate:
                change.masked_fill_(watch.failed > 0, 0.0)
            self.flat.sub_(change)
            self.taken += 1
        return norm
