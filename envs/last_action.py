"""The last action and the last reward as a part of each observation: `env=gym/last_action`, for agents that remember (agent/core).

    o_t, a_{t-1}, r_{t-1}        a one-hot, or as it is; both are zeros in the first row of an episode (Kapturowski et al., 2019)

It stands in the environment, not in the core, because everything behind the environment then has them without a word: stored rows and their
successors, evaluation, an exported policy; and an environment that is restored repeats its actions, which restores these numbers too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .gym import Gym
from .masks import KEY, observes_mask


class LastAction(gymnasium.Wrapper):
    """Observations {action, observation, reward}, which agents see as one vector in this order; the raw reward, an action flattened.

    Args:
        env: inside.
        masked: whether a mask of actions beside the observation stays there: {observation: {action, observation, reward}, action_mask}.
    """

    def __init__(self, env: gymnasium.Env, masked: bool = False):
        super().__init__(env)
        self.zeros = np.zeros(spaces.flatdim(env.action_space), np.float32)
        action = spaces.Box(-np.inf, np.inf, self.zeros.shape)
        reward = spaces.Box(-np.inf, np.inf, (1,))
        space: Any = env.observation_space
        self.masked = masked
        seen = spaces.Dict({"action": action, "observation": space["observation"] if self.masked else space, "reward": reward})
        self.observation_space = spaces.Dict({"observation": seen, KEY: space[KEY]}) if self.masked else seen

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict[str, object], dict]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self.shown(observation, self.zeros, 0.0), info

    def step(self, action: object) -> tuple:
        observation, reward, *rest = self.env.step(action)
        taken: Any = spaces.flatten(self.env.action_space, action)
        return self.shown(observation, taken.astype(np.float32), float(reward)), reward, *rest

    def shown(self, observation: Any, action: np.ndarray, reward: float) -> dict[str, object]:
        own = {"action": action, "reward": np.array([reward], np.float32)}
        if self.masked:
            return {"observation": {**own, "observation": observation["observation"]}, KEY: observation[KEY]}
        return {**own, "observation": observation}


@dataclass(frozen=True, kw_only=True)
class GymLastAction(Gym):
    """Wrappers of the user stand inside, so that the reward is the one which the agent gets."""

    def made(self) -> gymnasium.Env:
        env = super().made()
        discrete = not isinstance(env.action_space, spaces.Box)
        return LastAction(env, self.mask is not False and discrete and observes_mask(env.observation_space))

    def terminates(self) -> None:
        """A rule of the environment reads observations without the action in front, so that a model learns terminations."""
