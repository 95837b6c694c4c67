"""Maps of values of both signs, so that one channel of raw rewards is enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.learning.values.mapping import Mapping


@dataclass(frozen=True, kw_only=True)
class SignedRoot(Mapping):
    """The map sign(x) (√(|x| + 1) − 1) + εx (Pohlen et al., 2018)."""

    epsilon: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon must be positive, not {self.epsilon}")

    def forward(self, value: Tensor) -> Tensor:
        return value.sign() * ((value.abs() + 1).sqrt() - 1) + self.epsilon * value

    def inverse(self, mapped: Tensor) -> Tensor:
        root = (1 + 4 * self.epsilon * (mapped.abs() + 1 + self.epsilon)).sqrt()
        return mapped.sign() * (((root - 1) / (2 * self.epsilon)).square() - 1)


@dataclass(frozen=True, kw_only=True)
class Asinh(Mapping):
    """The map s asinh(x / s): signed, linear near 0 and logarithmic far from it. It is ours, from no paper.

    Args:
        scale: s.
    """

    scale: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale must be positive, not {self.scale}")

    def forward(self, value: Tensor) -> Tensor:
        return self.scale * (value / self.scale).asinh()

    def inverse(self, mapped: Tensor) -> Tensor:
        end = math.log(torch.finfo(mapped.dtype).max) - 20.0  # below infinity, because ∞ − ∞ is not a number
        return self.scale * (mapped / self.scale).clamp(-end, end).sinh()
