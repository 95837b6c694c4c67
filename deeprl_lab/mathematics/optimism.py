"""Exploration bonuses of counts.

    Hoeffding    c · size · √(L / n)
    Bernstein    c · ( √(2 Var L / n) + size · L / n )

n counts the samples of a pair, `size` is the range of what is averaged, L = ln(2 H S A k / δ) after k episodes. The constants of theory are
useless on small problems, so each has a scale c of its own: 1 is the form above, and experiments state theirs. L grows with the episodes
so far, where theory takes their final number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, in_range


@dataclass(frozen=True)
class Bonus(Choice):
    """No bonus: greedy in the estimates. Base of the others.

    Args:
        bonus_scale: c.
        confidence: δ.
    """

    bonus_scale: float = 0.0
    confidence: float = 0.1

    def __post_init__(self):
        in_range(self, bonus_scale=(0, None), confidence=(1e-12, 1))

    def log_term(self, pairs: int, episodes: float) -> float:
        """L; `pairs` is H S A."""
        return math.log(2 * pairs * (1 + episodes) / self.confidence)

    def width(self, n: np.ndarray, size: float, variance: np.ndarray, log: float) -> np.ndarray:
        """(...) bonuses for counts (...), of which 0 counts as 1."""
        return np.zeros(np.broadcast_shapes(n.shape, variance.shape))


@dataclass(frozen=True)
class Hoeffding(Bonus):
    bonus_scale: float = 0.1

    def width(self, n, size, variance, log):
        return self.bonus_scale * size * np.sqrt(log / np.maximum(n, 1)) + 0.0 * variance


@dataclass(frozen=True)
class Bernstein(Bonus):
    bonus_scale: float = 0.1

    def width(self, n, size, variance, log):
        n = np.maximum(n, 1)
        return self.bonus_scale * (np.sqrt(2.0 * variance * log / n) + size * log / n)
