"""Gymnasium's classic control tasks: CartPole, Acrobot, MountainCar, Pendulum; also with some numbers of an observation hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from torch import Tensor

from .gym import GymGame, Registered, make
from .terminations import rule_of


class Columns(gymnasium.ObservationWrapper):
    """Shows some numbers of an observation and no others.

    Args:
        visible: their places, from 0.
    """

    def __init__(self, env: gymnasium.Env, visible: list[int]):
        super().__init__(env)
        full: Any = env.observation_space
        if not visible or not all(type(place) is int and 0 <= place < full.shape[0] for place in visible):
            raise ValueError(f"visible must be places from 0 to {full.shape[0] - 1}, at least one, not {visible}")
        self.visible = np.array(visible)
        self.observation_space = gymnasium.spaces.Box(full.low[self.visible], full.high[self.visible], dtype=full.dtype)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[self.visible]


@dataclass(frozen=True, kw_only=True)
class Classic(Registered):
    """A classic control task. Copies are made one by one, because `gymnasium.make_vec("CartPole-v1")` gives all of them one generator."""

    obs_scale: list[float] | None = None
    """Size that each component of an observation reaches. Observations stay raw here; agents may divide by it."""
    visible: list[int] | None = None
    """Components that agents see, from 0; None: all. Without velocities a task needs memory (agent/core)"""

    def terminates(self) -> Callable[[Tensor], Tensor] | None:
        return rule_of(self.id, self.kwargs)

    def made(self) -> gymnasium.Env:
        env = make(self.id, self.max_episode_steps, self.kwargs)
        return env if self.visible is None else Columns(env, list(self.visible))

    def build(self, evaluation: bool = False) -> GymGame:
        return GymGame(self.made())
