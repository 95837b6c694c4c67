"""Environments of tests: any tabular MDP, and one that counts, so that each of its rows shows its episode and its step."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from deeprl.choice import one_of
from deeprl.envs.toy import TabularGame, TabularMDP
from deeprl.envs.vector.actions import Actions
from deeprl.envs.vector.backend import Game
from deeprl.envs.vector.choice import EnvChoice
from deeprl.types import Spec


@dataclass(frozen=True, kw_only=True, eq=False)
class Tabular(EnvChoice):
    mdp: TabularMDP
    max_episode_steps: int = 100

    def build(self, evaluation: bool = False) -> Game:
        return TabularGame(self.mdp, self.max_episode_steps)


class CountingGame(Game):
    """An environment with the observation (tag of the episode, its step, sum of its actions). Tag and length are random. Episodes with odd
    tags terminate, the others are truncated; the reward is tag + step / 100. The last action causes `choice.failure`."""

    def __init__(self, choice: Counting):
        self.choice = choice
        dimension = 2 if choice.continuous else 0
        self.actions = Actions(0, 0, np.full(2, -1, np.float32), np.full(2, 3, np.float32), (2,)) if dimension else Actions(num=3)
        self.spec = Spec((3,), torch.float32, self.actions.num, dimension)
        self.random = np.random.default_rng()
        self.obs = np.zeros(3, np.float32)  # one buffer for all observations, as in some environments
        self.length = 0

    def reset(self, seed):
        if seed is not None and not self.choice.forgetful:
            self.random = np.random.default_rng(seed)
        self.length = int(self.random.integers(1, self.choice.max_length + 1))
        # by chance a repeat had the tag of the run once in a thousand tests, and counted as equal; beyond 2**24 float32 holds no tag
        self.obs[:] = self.random.integers(1, 2**24 if self.choice.forgetful else 1000), 0, 0
        return self.obs

    def step(self, action):
        if self.choice.failure and not self.choice.continuous and action == 2:
            return self._fail()
        self.obs += 0, 1, np.sum(action)
        ended = self.obs[1] >= self.length
        return self.obs, float(self.obs[0] + self.obs[1] / 100), bool(ended and self.obs[0] % 2), bool(ended)

    def _fail(self):
        failure, obs, reward = self.choice.failure, self.obs, 1.0
        if failure == "raise":
            raise ArithmeticError("counted too far")
        if failure == "panic":
            raise BaseException("counted too far")  # as an extension in Rust raises
        if failure == "exit":
            sys.exit(0)
        if failure == "die":
            os._exit(3)
        while failure == "hang":
            time.sleep(60)
        if failure == "nan":
            obs = np.array([1, np.nan, 2], np.float32)
        elif failure == "inf":
            reward = np.inf
        elif failure == "shape":
            obs = obs[:1]
        else:
            obs = obs.astype(np.float64)
        return obs, reward, False, False


@dataclass(frozen=True, kw_only=True)
class Counting(EnvChoice):
    max_length: int = 6
    continuous: bool = False
    failure: str | None = None
    forgetful: bool = False
    """Ignores its seeds, so that a replay differs from the run"""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, failure=(None, "raise", "panic", "exit", "die", "hang", "nan", "inf", "shape", "dtype"))

    @property
    def name(self) -> str:
        return "counting"

    def build(self, evaluation: bool = False) -> Game:
        return CountingGame(self)
