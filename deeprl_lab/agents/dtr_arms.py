"""How DTR bandit explores: forced pulls, which are the paper's, and two arms that the authors ran beside them, ε-greedy and LSVI-UCB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deeprl.extend import Choice, counts, in_range
from deeprl_lab.mathematics import ridge


def features(x: np.ndarray) -> np.ndarray:
    """(n,) -> (n, 2): 1 and x."""
    return np.stack([np.ones_like(x), x], -1)


def roots(*coefficients: float) -> np.ndarray:
    """Real parts (k,) of the roots of Σ c_i x^i. Those that are not real are points like any other: more breaks change no integral."""
    while coefficients and not coefficients[-1]:
        coefficients = coefficients[:-1]
    if len(coefficients) == 2:
        return np.array([-coefficients[0] / coefficients[1]])
    return np.polynomial.polynomial.polyroots(coefficients).real if len(coefficients) > 2 else np.empty(0)


class Fits(NamedTuple):
    """Coefficients and Λ⁻¹ of one stage."""

    forced: np.ndarray
    """(A, 2) β̃"""
    all: np.ndarray
    """(A, 2) β̂"""
    inverse: np.ndarray
    """(A, 2, 2) of all episodes"""


class Exploration(Choice):
    """How the agent explores; this one does not (greedy in β̂)."""

    epsilon: float = 0.0
    """Probability of an action at random"""

    def forced(self, episode: int) -> tuple[int, int] | None:
        """The pair (a₁, a₂) that an episode, counted from 0, must take."""
        return None

    def values(self, fits: Fits, phi: np.ndarray) -> np.ndarray:
        """(n, A) values of which acting takes the larger."""
        return phi @ fits.all.T

    def target(self, fits: Fits, phi: np.ndarray) -> np.ndarray:
        """(n, A) values of stage 2 whose maximum stage 1 is fitted to, for β̂."""
        return phi @ fits.all.T

    def breaks(self, fits: Fits) -> np.ndarray:
        """Points between which the larger value is that of one action."""
        return roots(*(fits.all[1] - fits.all[0]))


@dataclass(frozen=True)
class ForcedPulls(Exploration):
    """The paper's.

    Args:
        pulls: q, forced episodes of each pair of actions in a round.
        delta: δ, in units of reward. The authors' grids: q of 3, 5, 10, δ of 0.1, 0.2, 0.3, 0.5, 1, 5.
    """

    pulls: int = 3
    delta: float = 0.2

    def __post_init__(self):
        counts(self, pulls=1)
        in_range(self, delta=(0, None))

    def forced(self, episode: int) -> tuple[int, int] | None:
        block = 4 * self.pulls
        at = episode - ((1 << (episode // block + 1).bit_length() - 1) - 1) * block
        return divmod(at // self.pulls, 2) if at < block else None

    def values(self, fits: Fits, phi: np.ndarray) -> np.ndarray:
        coarse, fine = phi @ fits.forced.T, phi @ fits.all.T
        sure = np.abs(coarse[:, 1] - coarse[:, 0]) > self.delta / 2
        return np.where(sure[:, None], coarse, fine)

    def breaks(self, fits: Fits) -> np.ndarray:
        level, slope = fits.forced[1] - fits.forced[0]
        sides = [roots(level - side, slope) for side in (-self.delta / 2, 0.0, self.delta / 2)]
        return np.concatenate([*sides, super().breaks(fits)])


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
