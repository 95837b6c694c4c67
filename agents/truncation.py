"""Truncating trajectories in Monte Carlo reinforcement learning (Poiani, Metelli, Restelli, 2023): Λ steps are spent on episodes of
different planned lengths, because discounting makes early steps worth more samples.

    Ĵ = Σ_{t < T} γ^t (1/m_t) Σ_{i: h_i > t} r_{i,t},   width² ∝ Σ_t d_t / m_t,   d_t = γ^t (γ^t + γ^{t+1} − 2 γ^T) / (1 − γ)
    m_t ∝ √d_t, m_t ≥ 1, Σ_t m_t = Λ                     m_t episodes are longer than t

γ = 0.9, T = 10, Λ = 100: m = 19.03, 16.57, 14.33, …, 2.13, and 0.783 of the uniform schedule's width². An episode that ends by itself saves
steps, which are not spent again.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from deeprl.choice import counts
from deeprl.replay.source import Settings
from deeprl.replay.trajectories import Trajectories


def weights(discount: float, horizon: int) -> np.ndarray:
    """d_t, (T,)."""
    powers = discount ** np.arange(horizon)
    return powers * (powers + 2.0 * (powers.sum() - powers.cumsum()))


def shares(discount: float, horizon: int, budget: int) -> np.ndarray:
    """m_t before it is rounded, (T,), where all of them are at least 1."""
    root = np.sqrt(weights(discount, horizon))
    return budget * root / root.sum()


def counts_of(discount: float, horizon: int, budget: int) -> np.ndarray:
    """m_t, (T,) whole numbers that never rise: 1 each, the rest in proportion to √d_t, what is left over to the earliest."""
    root = np.sqrt(weights(discount, horizon))
    left, share, held = float(budget), np.zeros(horizon), np.zeros(horizon, bool)
    while True:  # those whose share is below 1 have 1, and the others share what is left
        share = np.where(held, 1.0, left * root / max(root[~held].sum(), 1e-300))
        below = ~held & (share < 1.0)
        if not below.any():
            break
        held |= below
        left = budget - float(held.sum())
    found = np.maximum(np.floor(share + 1e-9), 1).astype(int)
    found[: budget - int(found.sum())] += 1
    return found


class Truncated(Trajectories):
    """Episodes of planned lengths.

    Args:
        budget: Λ, steps of an update.
        horizon: T, length of the longest.
        others: as in `Trajectories`.

    Raises:
        ValueError: the budget has not a step for each of the T.
    """

    paced_by = ("replay.budget", "replay.horizon")
    counted: ClassVar = {"budget": 1, "horizon": 1}

    def __init__(self, *, budget: int = 4000, horizon: int = 200, **others):
        self.budget = budget
        counts(self, budget=1)
        if budget < horizon:
            raise ValueError(f"budget must be at least the horizon of {horizon}, not {budget}, because a step of each time is needed")
        super().__init__(episodes=1, horizon=horizon, **others)

    def plan(self) -> np.ndarray:
        m = counts_of(self.discount, self.horizon, self.budget)
        return np.repeat(np.arange(self.horizon, 0, -1), -np.diff(m, append=0)[::-1])  # the longest first

    @classmethod
    def longest(cls, settings: Settings, num: int) -> int:
        return settings["budget"] + (num - 1) * settings["horizon"]  # the others wait for the last episode at most

    @classmethod
    def fewest(cls, settings: Settings) -> int:
        return -(-settings["budget"] // settings["horizon"])
