"""Uncertainty sets around a probability vector p, and their support functions σ(p, V) = min of E_q V over q in the set.

    contamination      q = (1 − R) p + R q', any q'       (1 − R) p·V + R min V
    total variation    ½ ‖q − p‖₁ ≤ R                     max_c  p·min(V, c) − R (c − min V)
    χ²                 Σ (q − p)²/p ≤ R                   max_c  p·min(V, c) − √(R Var_p min(V, c))
    KL                 KL(q‖p) ≤ R                        max_{a>0}  −a ln p·e^{−V/a} − a R
    Wasserstein        transport costs |x − y|^1 at most R   max_{l≥0}  Σ_x p_x min_y (V_y + l |x − y|) − l R

R is `radius`. Contamination, total variation and Wasserstein may put mass on any of the S states, χ² and KL only where p does. For the
Wasserstein distance the states lie at 0, 1, …, S − 1, because a world of the lab has no other metric. (Wang and others, "Model-Free Robust
Average-Reward Reinforcement Learning", ICML 2023; the duals are derived here, and compared with brute force in the tests.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, in_range
from deeprl_lab.mathematics.concave import maximum


@dataclass(frozen=True)
class Uncertainty(Choice):
    """No uncertainty: the expectation under p. Base of the sets.

    Args:
        radius: R.
    """

    radius: float = 0.0
    linear = True
    """Whether `worst` is linear in p, so that one sample of the next state estimates it without bias"""

    def __post_init__(self):
        in_range(self, radius=(0, None))

    def worst(self, p: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(..., S) and (S,) -> (...) σ(p, V)."""
        return p @ v


@dataclass(frozen=True)
class Contamination(Uncertainty):
    """With probability R anything happens."""

    radius: float = 0.1

    def __post_init__(self):
        in_range(self, radius=(0, 1))

    def worst(self, p, v):
        return (1 - self.radius) * (p @ v) + self.radius * v.min()


def truncated(p: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every truncation point c among the values: c − min V in ascending order (S,), the mass above it (..., S), and the masses in
    the same order (..., S)."""
    order = np.argsort(v, kind="stable")
    p = p[..., order]
    return v[order] - v[order[0]], np.maximum(1.0 - p.cumsum(-1), 0.0), p


@dataclass(frozen=True)
class TotalVariation(Uncertainty):
    """Mass R moves from the largest values to the smallest. The dual is piecewise linear, so its maximum is at a value."""

    radius: float = 0.1
    linear = False

    def __post_init__(self):
        in_range(self, radius=(0, 1))

    def worst(self, p, v):
        c, above, p = truncated(p, v)
        return v.min() + ((p * c).cumsum(-1) + above * c - self.radius * c).max(-1)


@dataclass(frozen=True)
class ChiSquare(Uncertainty):
    """Between two neighbouring values the dual's stationary point is the root of a quadratic equation."""

    radius: float = 0.1
    linear = False

    def worst(self, p, v):
        c, above, p = truncated(p, v)
        mean, second = (p * c).cumsum(-1), (p * c**2).cumsum(-1)
        rest = np.maximum(1 - above, 1e-300)  # mass that is not cut
        odds = above / rest
        inside = np.sqrt(np.maximum(second - mean**2 / rest, 0) / np.where(self.radius > odds, self.radius - odds, np.inf))
        stationary = np.clip((mean + inside) / rest, c, np.append(c[1:], c[-1]))

        def dual(point: np.ndarray) -> np.ndarray:
            e = mean + above * point
            return e - np.sqrt(self.radius * np.maximum(second + above * point**2 - e**2, 0))

        return v.min() + np.maximum(dual(c), dual(stationary)).max(-1)


@dataclass(frozen=True)
class KL(Uncertainty):
    """With t = 1/a the dual is solved by bisection on KL(q_t‖p) = R, q_t ∝ p e^{−tV}, which grows with t."""

    radius: float = 0.1
    linear = False

    def worst(self, p, v):
        p, v = np.broadcast_arrays(p, v)
        low = np.where(p > 0, v, np.inf).min(-1)
        above, support = np.where(p > 0, v - low[..., None], 0.0), p
        atom = np.where(above == 0, support, 0).sum(-1)  # mass of the smallest value: KL is at most −ln of it

        def tilted(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            q = support * np.exp(-t[..., None] * above)
            total = q.sum(-1)
            mean = (q * above).sum(-1) / total
            return mean, -t * mean - np.log(total)

        spread = np.maximum(above.max(-1), 1e-300)
        small, large = np.zeros_like(spread), 750.0 / spread  # e^(−750) is 0: everything on the smallest value
        gap = np.where(above > 0, above, np.inf).min(-1)
        large = np.where(np.isfinite(gap), np.maximum(large, 750.0 / gap), large)
        for _ in range(100):
            middle = (small + large) / 2
            further = tilted(middle)[1] < self.radius
            small, large = np.where(further, middle, small), np.where(further, large, middle)
        return low + np.where(-np.log(np.maximum(atom, 1e-300)) <= self.radius, 0.0, tilted(small)[0])


@dataclass(frozen=True)
class Wasserstein(Uncertainty):
    """Of order 1. Beyond the steepest slope of V no state is moved, so the maximum lies before it."""

    radius: float = 0.1
    linear = False

    def worst(self, p, v):
        places = np.arange(len(v))
        distance = np.abs(places[:, None] - places)
        steepest = (np.abs(v[:, None] - v) / np.maximum(distance, 1)).max()

        def dual(slope: np.ndarray) -> np.ndarray:
            moved = (v + slope[..., None, None] * distance).min(-1)  # (..., S)
            return (p * moved).sum(-1) - slope * self.radius

        return maximum(dual, np.zeros(p.shape[:-1]), np.full(p.shape[:-1], steepest))
