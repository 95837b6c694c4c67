"""Finite MDPs: the model that worlds have, agents estimate and planners solve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """Markov decision process of S states and A actions; the reward is a function of the transition.

    Args:
        transition: (H, S, A, S) probabilities of the next state; without the axis H, the same in every step.
        reward: r(s, a, s'), of the same shape; or without the last axis, where it does not depend on s'.
        start: (S,) probabilities of the first state.
        horizon: H, steps of an episode; None: the process goes on for ever.

    Raises:
        ValueError: shapes do not fit, or probabilities do not sum to one.
    """

    transition: np.ndarray
    reward: np.ndarray
    start: np.ndarray
    horizon: int | None = None

    def __post_init__(self) -> None:
        p, r = np.asarray(self.transition, float), np.asarray(self.reward, float)
        r = r[..., None] if r.ndim < p.ndim else r
        if self.horizon is not None and p.ndim == 3:
            p = np.broadcast_to(p, (self.horizon, *p.shape))
        r = np.broadcast_to(r, p.shape)
        axes = 3 if self.horizon is None else 4
        if p.ndim != axes or p.shape[-1] != p.shape[-3] or self.start.shape != p.shape[-1:] or (axes == 4 and len(p) != self.horizon):
            raise ValueError(f"an MDP with horizon {self.horizon} has other shapes than {p.shape} and {self.start.shape}")
        if not (np.allclose(p.sum(-1), 1) and (p >= 0).all() and np.isclose(self.start.sum(), 1)):
            raise ValueError("the probabilities of an MDP must sum to one")
        object.__setattr__(self, "transition", p)
        object.__setattr__(self, "reward", r)

    @property
    def states(self) -> int:
        return self.transition.shape[-1]

    @property
    def num_actions(self) -> int:
        return self.transition.shape[-2]

    @property
    def outcomes(self) -> int:
        """H, or 1 if the process is the same in every step."""
        return self.horizon or 1

    def expected_reward(self) -> np.ndarray:
        """E r(s, a, s'), (..., S, A)."""
        return (self.transition * self.reward).sum(-1)
