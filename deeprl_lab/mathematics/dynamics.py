"""Kernels to plan with: the true one, or an estimate with a bonus."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, in_range


@dataclass(frozen=True)
class Known(Choice):
    """The kernel is known."""

    def __call__(self, true: np.ndarray, number: np.ndarray, episodes: float) -> tuple[np.ndarray, np.ndarray]:
        """True kernel, and counts (H, S, A, S) -> the kernel to plan with, and bonuses (H, S, A)."""
        return true, np.zeros(true.shape[:3])


@dataclass(frozen=True)
class Counted(Known):
    """It is estimated; bonus c (H − h − 1) √(L/n), L = ln(2 H S A k / δ), which is 0 in the last step, whose transition does not matter."""

    bonus_scale: float = 0.1
    confidence: float = 0.1

    def __post_init__(self):
        in_range(self, bonus_scale=(0, None), confidence=(1e-12, 1))

    def __call__(self, true, number, episodes):
        n = number.sum(-1)
        log = math.log(2 * n.size * (1 + episodes) / self.confidence)
        kernel = np.where(n[..., None] > 0, number / np.maximum(n, 1)[..., None], 1.0 / number.shape[-1])
        left = np.arange(len(n))[::-1, None, None]
        return kernel, self.bonus_scale * left * np.sqrt(log / np.maximum(n, 1))
