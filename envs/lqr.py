"""A linear system with quadratic cost, whose best policy is known.

    s' = s + a + noise · ξ,     r = −s² − a²,     s₀ ~ U(−1, 1)

With a discount γ the policy a = −k s has the value −p_k s² − c_k; the best one solves the Riccati equation p = 1 + γ p / (1 + γ p), and
k = γ p / (1 + γ p): γ = 0.9 gives p = 1.588403, k = 0.588403.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from deeprl.choice import counts, in_range
from deeprl.types import Spec

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice


def gain(discount: float) -> float:
    """k of the best policy."""
    linear = 1.0 - 2.0 * discount  # γ p² + (1 − 2 γ) p − 1 = 0
    p = (-linear + math.sqrt(linear**2 + 4.0 * discount)) / (2.0 * discount)
    return discount * p / (1.0 + discount * p)


def mean_return(k: float, noise: float, steps: int, discount: float = 1.0) -> float:
    """Expected sum of γ^t r_t of the policy a = −k s over an episode of so many steps."""
    square, total = 1.0 / 3.0, 0.0
    for step in range(steps):
        total -= discount**step * (1.0 + k * k) * square
        square = (1.0 - k) ** 2 * square + noise**2
    return total


class LinearQuadraticGame(Game):
    limit: int

    def __init__(self, choice: LinearQuadratic):
        self.spec, self.limit = Spec((1,), torch.float32, 0, 1), choice.max_episode_steps
        bound = np.array([choice.bound], np.float32)
        self.actions, self.noise = Actions(num=0, low=-bound, high=bound, shape=(1,)), choice.noise
        self.random = np.random.default_rng()
        self.state, self.elapsed = 0.0, 0

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.state, self.elapsed = float(self.random.uniform(-1.0, 1.0)), 0
        return np.array([self.state], np.float32)

    def step(self, action):
        taken = float(np.asarray(action).reshape(()))
        reward = -(self.state**2) - taken**2
        self.state += taken + self.noise * float(self.random.normal())
        self.elapsed += 1
        return np.array([self.state], np.float32), reward, False, self.elapsed >= self.limit


@dataclass(frozen=True, kw_only=True)
class LinearQuadratic(EnvChoice):
    """
    Args:
        noise: deviation of the noise in each step.
        bound: largest |a|; an agent's action in [−1, 1] is that share of it.
        max_episode_steps: length of an episode, a time limit.
    """

    noise: float = 0.1
    bound: float = 3.0
    max_episode_steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, noise=(0, None), bound=(1e-3, None))
        counts(self, max_episode_steps=1)

    def build(self, evaluation: bool = False) -> Game:
        return LinearQuadraticGame(self)
