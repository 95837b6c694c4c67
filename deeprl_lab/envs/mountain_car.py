"""Mountain car with a deadline (Ayoub, Wang, Liu, Robertson, McInerney, Liang, Kallus, Szepesvári, "Switching the Loss Reduces the Cost in
Batch Reinforcement Learning", ICML 2024; the dynamics of their code).

    v ← clip(v + 0.001 a − 0.0025 cos 3x, ±0.07),    x ← clip(x + v, −1.2, 0.6),    a ∈ {−1, 0, 1}

Every episode starts at (−0.5, 0) and has H steps. The only cost is that of the last one: 1 unless the car is at 0.6 then; the goal does
not end an episode. Everything is deterministic, so that one episode is the exact value of a policy. Rewards are costs with a minus sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deeprl.extend import Actions, EnvChoice, Game, Spec, counts

GOAL = 0.6
LOW, HIGH = np.array([-1.2, -0.07]), np.array([GOAL, 0.07])
"""Bounds of position and velocity"""
START = np.array([-0.5, 0.0])


def moved(state: np.ndarray, action: np.ndarray) -> np.ndarray:
    """(..., 2) position and velocity, and actions (...) of 0, 1, 2 -> the next state (..., 2)."""
    x, v = state[..., 0], state[..., 1]
    v = np.clip(v + 0.001 * (action - 1) - 0.0025 * np.cos(3 * x), LOW[1], HIGH[1])
    return np.stack([np.clip(x + v, LOW[0], GOAL), v], -1)


def cost(state: np.ndarray) -> np.ndarray:
    """(..., 2) last states -> (...) costs, 0 or 1."""
    return (state[..., 0] < GOAL) * 1.0


class MountainCarGame(Game):
    """One copy: the observation is (position, velocity, step)."""

    def __init__(self, horizon: int):
        self.limit = horizon
        self.actions, self.spec = Actions(num=3), Spec((3,), torch.float32, 3, 0)
        self.state, self.elapsed = START, 0

    def reset(self, seed):
        self.state, self.elapsed = START, 0
        return self._obs()

    def step(self, action):
        self.state, self.elapsed = moved(self.state, action), self.elapsed + 1
        over = self.elapsed == self.limit
        return self._obs(), -float(cost(self.state)) if over else 0.0, over, over

    def _obs(self) -> np.ndarray:
        return np.array([*self.state, self.elapsed], np.float32)


@dataclass(frozen=True, kw_only=True)
class MountainCar(EnvChoice):
    """The environment, and what its meter needs.

    Args:
        horizon: H. The authors' last script has 800.
    """

    horizon: int = 400
    bounds = np.stack([LOW, HIGH])

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, horizon=1)

    def build(self, evaluation: bool = False) -> Game:
        return MountainCarGame(self.horizon)

    def episode_cost(self, policy) -> float:
        """Cost of a policy, exactly: (state (2,), step) -> action."""
        state = START
        for step in range(self.horizon):
            state = moved(state, policy(state, step))
        return float(cost(state))
