"""A corridor: walk right, against the wind."""

from __future__ import annotations

import gymnasium
import numpy as np


class Corridor(gymnasium.Env):
    """The position is the observation, in [0, 1]; the reward is −1 a step until the right end is reached.

    Args:
        length: cells.
        wind: probability that a step leads left whatever the action.
    """

    def __init__(self, length: int = 10, wind: float = 0.1):
        self.length, self.wind = length, wind
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.position = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0
        return self._observation(), {}

    def step(self, action):
        right = action == 1 and self.np_random.random() >= self.wind
        self.position = max(self.position + (1 if right else -1), 0)
        return self._observation(), -1.0, self.position == self.length - 1, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.position / (self.length - 1)], np.float32)
