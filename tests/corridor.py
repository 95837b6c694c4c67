"""An environment with action masks: a corridor in which most actions are a fall."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

CORRIDOR = ("env=gym", "env.id=Corridor-v0", "env.mask=true")


class Corridor(gymnasium.Env):
    """States 0 … length − 1 in a row, of which the last is the goal, with reward 1. In each state two actions are valid, another pair in
    every state: one step to the right and one to the left. Any other action ends the episode with reward −1.

    Args:
        told: where the mask is: in `info`, or, if false, in observations, as in PettingZoo.
        cut: steps until an episode is truncated.
    """

    def __init__(self, length: int = 6, actions: int = 40, told: bool = True, cut: int = 50):
        self.length, self.actions, self.told, self.cut = length, actions, told, cut
        self.action_space = spaces.Discrete(actions)
        states = spaces.Box(0, 1, (length,))
        self.observation_space = states if told else spaces.Dict({"observation": states, "action_mask": spaces.MultiBinary(actions)})
        self.state = self.elapsed = 0

    @property
    def right(self) -> int:
        return (7 * self.state + 3) % self.actions

    @property
    def left(self) -> int:
        return (self.right + 1) % self.actions

    def seen(self):
        state = np.eye(self.length, dtype=np.float32)[self.state]
        mask = np.isin(np.arange(self.actions), (self.right, self.left)).astype(np.int8)
        return (state, {"action_mask": mask}) if self.told else ({"observation": state, "action_mask": mask}, {})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.elapsed = 0
        return self.seen()

    def step(self, action):
        self.elapsed += 1
        if action not in (self.right, self.left):
            obs, info = self.seen()
            return obs, -1.0, True, False, info
        self.state = max(self.state + (1 if action == self.right else -1), 0)
        goal = self.state == self.length - 1
        obs, info = self.seen()
        return obs, float(goal), goal, self.elapsed >= self.cut, info


gymnasium.register("Corridor-v0", entry_point=Corridor)
