"""Worlds with goals and sparse rewards: −1 a step, and 0 for the one that reaches the goal, which terminates.

    bit_flip   n bits, an action flips one; best return about 1 − n/2, at random n 12 succeeds once in hundreds (Andrychowicz et al., 2017)
    reach      a point moves to a goal in the plane; at random once in thirty

An observation is the achieved goal, then the desired one.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

from deeprl.choice import in_range
from deeprl.types import Goals, Spec

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice


class GoalGame(Game):
    """A game that ends where its state (G,) is the goal.

    Args:
        size: G.
    """

    limit: int

    def __init__(self, size: int, actions: Actions, limit: int):
        count = actions.num or len(actions.low)  # type: ignore[arg-type]  # continuous ones have bounds
        self.spec = Spec((2 * size,), torch.float32, actions.num, 0 if actions.num else count)
        self.size, self.actions, self.limit = size, actions, limit
        self.random = np.random.default_rng()
        self.state = self.goal = np.zeros(size, np.float32)
        self.elapsed = 0

    def goals(self):
        def reward(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
            return self.reached(achieved, desired).astype(np.float32) - 1

        return Goals(slice(0, self.size), slice(self.size, 2 * self.size), reward, self.reached)

    @abstractmethod
    def place(self) -> np.ndarray:
        """(G,) float32: a state, or a goal, at random."""

    @abstractmethod
    def moved(self, action) -> np.ndarray:
        """(G,) float32: the next state."""

    @abstractmethod
    def reached(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """(..., G) and (..., G) -> (...) bool."""

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.state, self.goal, self.elapsed = self.place(), self.place(), 0
        if self.info:
            self.info.begin()
        return np.concatenate([self.state, self.goal])

    def step(self, action):
        self.state = self.moved(action)
        self.elapsed += 1
        success = bool(self.reached(self.state, self.goal))
        if self.info:
            self.info.note({"is_success": float(success)})
        return np.concatenate([self.state, self.goal]), float(success) - 1.0, success, success or self.elapsed >= self.limit


class BitFlipGame(GoalGame):
    def __init__(self, bits: int):
        super().__init__(bits, Actions(num=bits), bits)

    def place(self):
        return self.random.integers(2, size=self.size).astype(np.float32)

    def moved(self, action):
        state = self.state.copy()
        state[action] = 1 - state[action]
        return state

    def reached(self, achieved, desired):
        return (achieved == desired).all(-1)


@dataclass(frozen=True, kw_only=True)
class BitFlip(EnvChoice):
    bits: int = 12
    """n, also the number of actions and of steps"""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, bits=(1, None))

    def build(self, evaluation: bool = False) -> Game:
        return BitFlipGame(self.bits)


class ReachGame(GoalGame):
    """A point in [-1, 1]², moved by `pace` times the action."""

    def __init__(self, choice: Reach):
        self.pace, self.radius = choice.pace, choice.radius
        one = np.ones(2, np.float32)
        super().__init__(2, Actions(num=0, low=-one, high=one, shape=(2,)), choice.max_episode_steps)

    def place(self):
        return self.random.uniform(-1, 1, 2).astype(np.float32)

    def moved(self, action):
        return np.clip(self.state + self.pace * action, -1, 1).astype(np.float32)

    def reached(self, achieved, desired):
        return np.linalg.norm(achieved - desired, axis=-1) <= self.radius


@dataclass(frozen=True, kw_only=True)
class Reach(EnvChoice):
    pace: float = 0.1
    radius: float = 0.05
    """Distance from the goal at which it is reached"""
    max_episode_steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, pace=(0, None), radius=(0, None), max_episode_steps=(1, None))

    def build(self, evaluation: bool = False) -> Game:
        return ReachGame(self)
