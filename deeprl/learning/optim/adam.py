"""Adam with flat parameters: one fused operator updates all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range
from deeprl.learning.optim.finite import HOST, Watch
from deeprl.learning.optim.flat import Flat, check, split_like, total_norm, two_betas


@dataclass(frozen=True)
class Adam(Choice):
    """Adam (Kingma and Ba, 2015); with `weight_decay` AdamW (Loshchilov and Hutter, 2019), decoupled.

    `eps` is part of the algorithm: on Atari the papers' values are four orders of magnitude above 1e-8. `schedule`, one of
    `deeprl.schedules`, multiplies `lr`; `max_grad_norm` clips the norm over all parameters of the optimizer (with `Groups`, of each group).
    """

    lr: float
    eps: float = 1e-8
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    schedule: Callable[[int], float] | None = None

    def __post_init__(self):
        object.__setattr__(self, "betas", two_betas(self.betas))
        in_range(self, lr=(0, None), eps=(1e-30, None), weight_decay=(0, None))
        check(self)

    def build(self, parameters: Sequence[nn.Parameter]) -> FlatAdam:
        return FlatAdam(self, parameters)


class FlatAdam(Flat):
    """State and rule of one `Adam`."""

    averages = ("moment", "square", "count")

    def __init__(self, choice: Adam, parameters: Sequence[nn.Parameter]):
        super().__init__(choice, parameters)
        self.moment, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.count = torch.zeros((), dtype=torch.float32, device=self.flat.device)
        # lists of views, not the flat tensors, because gradients then need no copy into a flat one
        values, counts = [p.detach() for p in self.parameters], [self.count] * len(self.parameters)
        self._lists = values, split_like(self.moment, values), split_like(self.square, values), counts
        self._fused = torch._fused_adamw_ if choice.weight_decay else torch._fused_adam_

    def numbers(self, step: int) -> tuple[float, ...]:
        # not in `updated`, because 1 - 0.999 has four digits in float32 and compiled code would take powers at every element
        (first, second), rate, count = self.choice.betas, self.rate(step), self.taken + 1
        return rate / (1.0 - first**count), 1.0 / math.sqrt(1.0 - second**count), 1.0 - rate * self.choice.weight_decay

    def updated(self, flat: Tensor, averages: Sequence[Tensor], gradient: Tensor, numbers: Sequence[Tensor | float]) -> tuple[Tensor, ...]:
        moment, square, count = averages
        first, second = self.choice.betas
        size, root, keep = numbers
        moment = torch.lerp(moment, gradient, 1.0 - first)
        square = second * square + (1.0 - second) * gradient.square()
        if self.choice.weight_decay:
            flat = flat * keep
        return flat - size * moment / (square.sqrt() * root + self.choice.eps), moment, square, count + 1.0

    def step(self, gradients: Sequence[Tensor], step: int, watch: Watch = HOST) -> Tensor:
        """Update in place by torch's fused Adam. It takes a list of gradients, so they are not copied into one flat tensor."""
        choice = self.choice
        self.check(gradients)
        values, moments, squares, counts = self._lists
        with torch.no_grad():
            # contiguous, because the fused operator reads memory order: a transposed gradient would update the wrong weights
            gradients = [g.contiguous() for g in gradients]
            norm = total_norm(gradients)
            watch(norm, "the norm of its gradient")
            if choice.max_grad_norm is not None:
                # not in place, because autograd may return one tensor for two parameters
                gradients = torch._foreach_mul(gradients, (choice.max_grad_norm / (norm + 1e-6)).clamp_(max=1.0))
            self.taken += 1
            self.count += 1
            self._fused(
                values, gradients, moments, squares, [], counts,
                lr=self.rate(step),
                beta1=choice.betas[0], beta2=choice.betas[1], weight_decay=choice.weight_decay, eps=choice.eps,
                amsgrad=False, maximize=False, grad_scale=None,
                found_inf=None if watch.immediate else watch.failed,
            )  # fmt: skip
        return norm
