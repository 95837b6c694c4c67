"""What a tabular agent learns from: counts of transitions in each step of an episode, and their rewards."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from deeprl.extend import Rows


def read(obs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations (M, S + 2) of an episodic world -> states, steps and sums of rewards, (M,) each."""
    return obs[:, :-2].argmax(-1), obs[:, -2].astype(int), obs[:, -1].astype(float)


def require_steady(world: Any) -> None:
    """
    Raises:
        ValueError: rewards of the world have noise, and `Counts` would keep the last draw of each as r(s, a, s').
    """
    if np.any(getattr(world, "spread", 0.0)):
        raise ValueError(
            "world must have rewards without noise, because this agent reads them as functions of transitions: env.noise=[0,0]"
        )


class Counts(NamedTuple):
    """Statistics of an agent, (H, S, A, S) each."""

    number: np.ndarray
    reward: np.ndarray
    """r(s, a, s') as it was last seen; rewards are functions of the transition"""

    def add(self, rows: Rows) -> None:
        (state, h, _), (after, *_) = read(rows.obs), read(rows.next_obs)
        np.add.at(self.number, (h, state, rows.action, after), 1)
        self.reward[h, state, rows.action, after] = rows.reward

    def model(self) -> tuple[np.ndarray, np.ndarray]:
        """Estimated kernel (H, S, A, S), uniform for pairs without samples, and counts (H, S, A)."""
        n = self.number.sum(-1)
        return np.where(n[..., None] > 0, self.number / np.maximum(n, 1)[..., None], 1.0 / self.number.shape[-1]), n
