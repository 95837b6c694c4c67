"""Arms to compare DTR bandit with, for the same agent: ε-greedy and LSVI-UCB, which the authors ran too."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deeprl.agents.lab.dtr import Exploration, Fits, roots
from deeprl.choice import counts, in_range
from deeprl.lab import ridge


@dataclass(frozen=True)
class EpsilonGreedy(Exploration):
    """The larger prediction of β̂, or with probability `epsilon` an action at random; 0 is greedy."""

    epsilon: float = 0.1

    def __post_init__(self):
        in_range(self, epsilon=(0, 1))


@dataclass(frozen=True)
class Optimism(Exploration):
    """LSVI-UCB: prediction of β̂ plus c · 4 √ln(4T) · ‖φ‖_{Λ⁻¹}. Values are not clipped, because the noise of rewards has no bound.

    Args:
        bonus_scale: c; 1 is what the authors of DTR bandit ran, with `agent.lam=1`.
        episodes: T.
    """

    bonus_scale: float = 1.0
    episodes: int = 10_000

    def __post_init__(self):
        in_range(self, bonus_scale=(0, None))
        counts(self, episodes=1)

    @property
    def beta(self) -> float:
        return self.bonus_scale * 4.0 * math.sqrt(math.log(4 * self.episodes))

    def values(self, fits: Fits, phi: np.ndarray) -> np.ndarray:
        return phi @ fits.all.T + self.beta * ridge.widths(fits.inverse[None], phi[:, None])

    target = values

    def breaks(self, fits: Fits) -> np.ndarray:
        """Roots of 4 d² q₀ = (q₁ − q₀ − d²)², which d + √q₀ = √q₁ implies; d is linear in x, q_a = β² φᵀΛ_a⁻¹φ quadratic."""
        product = np.polynomial.polynomial.polymul
        d = fits.all[0] - fits.all[1]
        q = [self.beta**2 * np.array([m[0, 0], m[0, 1] + m[1, 0], m[1, 1]]) for m in fits.inverse]
        rest = q[1] - q[0] - product(d, d)
        return roots(*(product(rest, rest) - 4.0 * product(product(d, d), q[0])))
