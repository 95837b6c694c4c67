"""Logarithmic Q-learning, LogDQN (van Seijen, Fatemi, Tavakoli, 2019).

    f(x) = c ln(x + shift) + d,     d = −c ln(max(q0, γᵏ) + shift),     so that a head's output 0 has the value max(q0, γᵏ)
    T± = max(r± + γⁿ B±, γⁿᵏ),     B± = clip(Q±(s', a*), 0, 1/(1 − γⁿ)),     r⁺ = max(r, 0),  r⁻ = max(−r, 0),     Q = Q⁺ − Q⁻
    U± = Q± + β_reg (T± − Q±),     loss = Huber(f(U⁺) − Q̃⁺) + Huber(f(U⁻) − Q̃⁻)

In a logarithmic space action gaps have the same size in all states, so that function approximation works with low discount factors.
Rewards are split by sign (`agent/rewards=polar`) because a logarithm takes no negative values.
`Units.regression_target` in `deeprl.learning.values.mapped` computes U, and `MappedValues.loss` the loss.

Deep form: shift 0. Linear and tabular form: shift γᵏ, and no floor in d and T. For n > 1 the released code splits the n-step sum
by sign; here the replay splits each reward first. The clip of B± is also that of the released code; for n > 1 returns may be larger, see
`bound`. Numbers and provenance: docs/algorithms/log_dqn.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.extend import Mapping, in_range


def exp(x: Tensor) -> Tensor:
    """eˣ with the exponent limited to `LARGEST`, so that the result is finite in float32 and no error is ∞ − ∞. The authors' code has no
    limit."""
    return x.clamp(max=LARGEST).exp()


LARGEST = math.log(torch.finfo(torch.float32).max) - 20.0
"""Largest exponent, below float32's, because errors are reported in float32 for every precision of the maps."""


@dataclass(frozen=True, kw_only=True)
class Log(Mapping):
    """Logarithmic map of LogDQN.

    Args:
        c: slope. It cancels in the linear form, without distance and optimizer; with Huber it sets the error above which the loss is
            linear.
        k: the floor of a target is discount^(n_step k) and that of `initial` is discount^k, unless `floor` is given; null: no floor.
        shift: added to values before the logarithm; γᵏ in the linear form.
    """

    needs = frozenset({"nonnegative"})

    averaging: float = 0.1
    clip_bootstrap: bool = True
    floor_on: str = "target"
    initial: tuple[float, float] | None = (1.0, 0.0)
    zero_negative: bool = True
    discount: float | None = 0.96
    c: float = 0.5
    k: float | None = 100.0
    shift: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        in_range(self, shift=(0, None))
        if not self.c > 0:
            raise ValueError(f"c must be positive, not {self.c}")
        powers = self.k is not None and self.k > 0 and self.discount is not None and 0 < self.discount < 1
        if not (powers if self.floor is None else self.floor) and not self.shift:
            raise ValueError("floor must be above 0, or null with k above 0 and a discount below 1, or shift above 0: ln 0 is no value")

    def lowest(self, steps: int) -> float:
        """Floor of values after `steps` steps; 0: no floor."""
        if self.floor is not None or self.k is None or self.discount is None:
            return self.floor or 0.0
        return self.discount ** (steps * self.k)

    def forward(self, value: Tensor) -> Tensor:
        return self.c * (value + self.shift).log()

    def inverse(self, mapped: Tensor) -> Tensor:
        return exp(mapped / self.c) - self.shift

    def floored(self, value: Tensor) -> Tensor:
        lowest = self.lowest(self.n_step)
        return value.clamp(min=lowest) if lowest else value

    def start(self, scale: float) -> float | None:
        start = super().start(scale)
        return None if start is None else max(start, self.lowest(1))
