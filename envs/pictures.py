"""Pictures of a camera as observations, in place of a simulator's numbers (DrQ: Yarats, Kostrikov, Fergus, 2021; three of 84 × 84)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class Pictures(gymnasium.Wrapper):
    """The newest pictures that `render()` gives, (3 · stack, H, W) uint8, the newest last. Before the first one of an episode are zeros, as
    with Atari, so that a replay stores each picture once; DrQ repeats the first one there.

    Args:
        env: renders (H, W, 3) uint8.
        stack: pictures in an observation.
    """

    def __init__(self, env: gymnasium.Env, stack: int):
        super().__init__(env)
        self.seen = np.concatenate([np.zeros_like(self.picture())] * stack)
        self.observation_space = gymnasium.spaces.Box(0, 255, self.seen.shape, np.uint8)

    def picture(self) -> np.ndarray:
        """(3, H, W) uint8"""
        return np.asarray(self.env.render()).transpose(2, 0, 1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        _, info = self.env.reset(seed=seed, options=options)
        self.seen = np.zeros_like(self.seen)
        self.seen[-3:] = self.picture()
        return self.seen, info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        _, reward, terminated, truncated, info = self.env.step(action)
        self.seen = np.concatenate([self.seen[3:], self.picture()])
        return self.seen, reward, terminated, truncated, info
