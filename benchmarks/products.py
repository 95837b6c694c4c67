"""Pendulum whose observation has the products of its numbers, of which a linear policy can make a swing up.

python train.py env=function env.function=benchmarks.products:make
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np

PAIRS = np.triu_indices(3)


def products(obs: np.ndarray) -> np.ndarray:
    """(cos θ, sin θ, θ̇/8) -> (9,): these, then the products of each two of them and their squares."""
    unit = np.asarray(obs, np.float32) / np.array([1.0, 1.0, 8.0], np.float32)
    return np.concatenate([unit, unit[PAIRS[0]] * unit[PAIRS[1]]])


def make() -> gym.Env:
    """Pendulum-v1 with observations (9,) in [−1, 1]."""
    space = gym.spaces.Box(-1.0, 1.0, (9,), np.float32)
    return gym.wrappers.TransformObservation(gym.make("Pendulum-v1"), products, space)
