"""Observations with numbers that move by themselves and mean nothing, by which models are told apart that know what matters (VaGraM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from deeprl.choice import counts

from .classic import Classic
from .gym import GymGame

EDGE = 20.0
"""Size at which all of them start anew"""


class Distractors(gymnasium.Wrapper):
    """d further numbers x ← A x, with A_ij ~ N(0, 1) the same in every environment. Where one passes ± 20, all are drawn anew, N(0, 1).

    Args:
        count: d
    """

    def __init__(self, env: gymnasium.Env, count: int):
        super().__init__(env)
        seen: Any = env.observation_space
        edge = np.full(count, EDGE, seen.dtype)
        self.observation_space = gymnasium.spaces.Box(
            np.concatenate([seen.low, -edge]), np.concatenate([seen.high, edge]), dtype=seen.dtype
        )
        self.map, self.values = np.random.default_rng(0).normal(size=(count, count)), np.zeros(count)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        obs, info = self.env.reset(seed=seed, options=options)
        self.values = self.unwrapped.np_random.normal(size=len(self.values)).clip(-EDGE, EDGE)
        return self.extended(obs), info

    def step(self, action: object) -> tuple:
        obs, *rest = self.env.step(action)
        moved = self.map @ self.values
        fresh = np.abs(moved).max() > EDGE
        self.values = self.unwrapped.np_random.normal(size=len(moved)).clip(-EDGE, EDGE) if fresh else moved
        return self.extended(obs), *rest

    def extended(self, obs: np.ndarray) -> np.ndarray:
        return np.concatenate([obs, self.values]).astype(obs.dtype)


@dataclass(frozen=True, kw_only=True)
class Distracted(Classic):
    """A classic control task whose observations end with distractors.

    Args:
        distractors: their number.
    """

    distractors: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, distractors=1)

    def build(self, evaluation: bool = False) -> GymGame:
        return GymGame(Distractors(self.made(), self.distractors))
