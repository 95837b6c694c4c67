"""Orchestrated value mapping, MapDQN and LogLinDQN (Fatemi, Tavakoli, ICLR 2022): the maps. The reward channels are in
`agents/reward_channels.py`.

    a* = argmax_a Σ_j λ_j Q_j(s', a),     T_j = r_j + γ B_j,     U_j = q_j + β_r (T_j − q_j),     loss = Σ_j Huber(f_j(U_j) − Q̃_j)

B_j and q_j are cut off to [0, 1 / (1 − γ)]; LogDQN's γⁿ is γ here, because `n_step` is 1. `deeprl.learning.values.mapped` computes U and
the loss. Admissible maps are invertible and strictly monotone, with a slope bounded away from 0 and ∞ on the occurring values (from memory,
not verified). Numbers and provenance: docs/algorithms/loglin_dqn.md, and value_mapping.md for the maps of other papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.extend import Mapping, in_range


@dataclass(frozen=True, kw_only=True)
class LogLinear(Mapping):
    """Map that is logarithmic below a break and linear above it, with a continuous slope.

        released   x ≤ b: c ln x + Δ,          else c x / b − c,       b = exp(−Δ / c)       (f(b) = 0; below the break `floor` acts)
        paper      x ≤ 1 − d: c ln(x + d),     else c (x − (1 − d))

    Args:
        c: slope.
        delta: Δ of the released form.
        shift: d of the paper's form (0.01687 with c = 0.5, by the authors' code). If it is above 0, `delta` must be 0.
    """

    needs = frozenset({"nonnegative"})

    averaging: float = 0.1
    clip_bootstrap: bool = True
    clip_prediction: bool = True
    floor: float | None = 0.01687
    shared: bool = False
    discount: float | None = 0.96
    c: float = 0.5
    delta: float = 0.0
    shift: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        in_range(self, shift=(0, 1), delta=(None, None))
        if not self.c > 0:
            raise ValueError(f"c must be positive, not {self.c}")
        if abs(self.delta / self.c) > 80:  # float32 holds e^±87
            raise ValueError(f"delta must be between -80 c and 80 c, not {self.delta} with c={self.c}")
        if self.shift and self.delta:
            raise ValueError("shift is of the paper's form, delta of the released one: one of them must be 0")
        if not self.shift and not self.floor:
            raise ValueError("floor must be positive where shift is 0: ln 0 is no value")

    @property
    def edge(self) -> float:
        """Value of x + shift at the break; f is 0 there."""
        return math.exp(-self.delta / self.c)

    def forward(self, value: Tensor) -> Tensor:
        ratio = (value + self.shift) / self.edge
        # clamped, because the branch that `where` drops must be finite too
        return self.c * torch.where(ratio <= 1, ratio.clamp(max=1).log(), ratio - 1)

    def inverse(self, mapped: Tensor) -> Tensor:
        ratio = mapped / self.c
        return self.edge * torch.where(ratio <= 0, ratio.clamp(max=0).exp(), ratio + 1) - self.shift


@dataclass(frozen=True, kw_only=True)
class PerChannel(Mapping):
    """A different map for each channel (`[log,loglin]` in the released code). Only f, f⁻¹ and the floor of each map are used."""

    averaging: float = 0.1
    clip_bootstrap: bool = True
    clip_prediction: bool = True
    shared: bool = False
    discount: float | None = 0.96
    maps: tuple[Mapping, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if not self.maps:
            raise ValueError("maps must name a mapping for each channel of the rewards")
        if self.floor is not None:
            raise ValueError(f"floor must be null, not {self.floor!r}, because each of maps has its own")
        object.__setattr__(self, "needs", frozenset().union(*(each.needs for each in self.maps)))

    def forward(self, value: Tensor) -> Tensor:
        return self._each(value, lambda each: each.forward)

    def inverse(self, mapped: Tensor) -> Tensor:
        return self._each(mapped, lambda each: each.inverse)

    def floored(self, value: Tensor) -> Tensor:
        return self._each(value, lambda each: each.floored)

    def _each(self, x: Tensor, function: Callable[[Mapping], Callable[[Tensor], Tensor]]) -> Tensor:
        return torch.stack([function(each)(part) for each, part in zip(self.maps, x.unbind(1), strict=True)], 1)

    @property
    def channels(self) -> int:
        return len(self.maps)
