"""Policy evaluation in continuous time (Jia, Zhou, "Policy Evaluation and Temporal-Difference Learning in Continuous Time and Space: A
Martingale Approach", JMLR 2022), for V_w(x) = w·φ(x) and a mesh of width Δ with γ = e^(−βΔ):

    V is right if and only if M_t = e^(−βt) V(X_t) + ∫ e^(−βs) r ds is a martingale.

    orthogonality       Σ ξ_i (r_i Δ + γ V(X_{i+1}) − V(X_i)) = 0,    ξ_i = λ^Δ ξ_{i−1} + φ(X_i)        CTD(λ)
    martingale loss     min Σ (tail_i − V(X_i))²,    tail_i the discounted rewards from i on            Monte Carlo
    squared TD error    min Σ (r_i Δ + γ V(X_{i+1}) − V(X_i))²                                          wrong: see below

The TD error has a variance of the order Δ, its mean is of the order Δ too, so that its square is the quadratic variation of V(X) and little
else: the finer the mesh, the flatter the V that minimises it. All three are linear equations A w = b, whose sums a criterion takes row by
row. From memory; exact discounts stand for the paper's r − βV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, in_range

Sums = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The trace after a tick (M, d), and what is added to A (d, d) and b (d,)"""


class Criterion(Choice):
    """Base of the criteria."""

    def __call__(self, trace: np.ndarray, now: np.ndarray, later: np.ndarray, reward: np.ndarray, gamma: float, step: float) -> Sums:
        """
        Args:
            trace: (M, d), zeros where an episode begins.
            now, later: φ(X_i), and φ(X_{i+1}) or zeros where the episode has terminated, (M, d).
            reward: (M,) r_i Δ.
            gamma, step: γ and Δ.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Orthogonality(Criterion):
    """Martingale orthogonality conditions, CTD(λ).

    Args:
        lam: λ, what is left of a test function after one unit of time.
    """

    lam: float = 0.0

    def __post_init__(self):
        in_range(self, lam=(0, 1))

    def __call__(self, trace, now, later, reward, gamma, step):
        trace = self.lam**step * trace + now if self.lam else now
        return trace, trace.T @ (now - gamma * later), trace.T @ reward


@dataclass(frozen=True)
class MartingaleLoss(Criterion):
    """Least squares on discounted tails. Σ_i φ_i tail_i is summed as Σ_j (Σ_{i≤j} γ^(j−i) φ_i) r_j, so that no episode is kept. An
    episode that is cut off has a tail without what would have come."""

    def __call__(self, trace, now, later, reward, gamma, step):
        trace = gamma * trace + now
        return trace, now.T @ now, trace.T @ reward


@dataclass(frozen=True)
class SquaredError(Criterion):
    """Least squares on TD errors."""

    def __call__(self, trace, now, later, reward, gamma, step):
        change = now - gamma * later
        return trace, change.T @ change, change.T @ reward


def solved(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """w (d,) of A w = b; the shortest of several."""
    return np.linalg.lstsq(left, right, rcond=1e-12)[0]
