"""Preferences between trajectories: P(τ₀ ≻ τ₁) = σ(⟨z, w⟩), z = φ(τ₀) − φ(τ₁), σ the logistic function."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deeprl.extend import Rows
from deeprl_lab.mathematics.counts import read


def logistic_ridge(z: np.ndarray, won: np.ndarray, penalty: float, start: np.ndarray, steps: int = 50) -> np.ndarray:
    """Minimiser (d,) of  Σ ln(1 + e^{−±⟨z, w⟩}) + penalty ‖w‖²/2  by Newton's method, damped by halving.

    Args:
        z, won: (n, d) differences, and (n,) 1 where the first trajectory won, else 0.
        start: (d,) where the search begins.
    """
    sign = 2.0 * won - 1.0

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0.0, -sign * (z @ w)).sum() + penalty * w @ w / 2)

    w = start.copy()
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-z @ w))
        gradient = z.T @ (p - won) + penalty * w
        step = np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z + penalty * np.eye(len(w)), gradient)
        decrement, size, before = float(gradient @ step), 1.0, loss(w)
        if decrement < 1e-20:
            return w
        while loss(w - size * step) > before and size > 1e-6:
            size /= 2
        w = w - size * step
    return w


class Comparisons(NamedTuple):
    """Data of an agent that plays duels, whose features count the visits of each (h, s, a), d = H S A."""

    z: np.ndarray
    """(capacity, d)"""
    won: np.ndarray
    """(capacity,)"""
    number: np.ndarray
    """(1,) int64"""
    path: np.ndarray
    """(M, d): z of the duels that are running"""

    @classmethod
    def none(cls, statistic: Callable[[str, np.ndarray], np.ndarray], capacity: int, num: int, d: int) -> Comparisons:
        """Before the first duel.

        Args:
            statistic: `PlanningAgent.statistic`, which keeps an array in checkpoints.
            num: M.
        """
        return cls(
            statistic("z", np.zeros((capacity, d))), statistic("won", np.zeros(capacity)),
            statistic("kept", np.zeros(1, np.int64)), statistic("path", np.zeros((num, d)))
        )  # fmt: skip

    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """z (n, d) and results (n,) so far."""
        n = int(self.number[0])
        return self.z[:n], self.won[:n]

    def visit(self, rows: Rows, shape: tuple[int, ...]) -> None:
        """Continue the paths by one step; `shape` is (H, S, A)."""
        state, t, _ = read(rows.obs)
        at = np.ravel_multi_index((t % shape[0], state, rows.action), shape)
        self.path[np.arange(len(at)), at] += np.where(t < shape[0], 1.0, -1.0)

    def keep(self, z: np.ndarray, won: float) -> None:
        """Store one result.

        Raises:
            ValueError: there is no room.
        """
        n = int(self.number[0])
        if n == len(self.z):
            raise ValueError(f"the history is full after {n} comparisons: begin the run with a larger agent.capacity")
        self.z[n], self.won[n] = z, won
        self.number[0] += 1
