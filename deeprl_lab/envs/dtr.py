"""A dynamic treatment regime of two stages and two actions (Hu and Kallus, "DTR Bandit: Learning to Make Response-Adaptive Decisions With
Low Regret"; the environment of their released experiments).

    x₁ ~ U(0, 1)
    x₂ ~ Beta(4, 1) with probability x₁, else Beta(1, 2)      after action 0
         Beta(1, 4) with probability x₁, else Beta(2, 1)      after action 1
    reward, after the second stage:  1 + x₂ for action 0, 3 x₂ for action 1, plus N(0, 1)

Actions are counted from 0; the paper counts from 1. The best policy takes action 0 first where x₁ > 5/14, and then where x₂ < 1/2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from deeprl.extend import Actions, EnvChoice, Game, Spec

LAWS = (((4, 1), (1, 2)), ((1, 4), (2, 1)))
"""Parameters of the Beta laws of x₂ after each action: with probability x₁, else"""
Density = Callable[[np.ndarray], np.ndarray]
DENSITIES: Sequence[Sequence[Density]] = (
    (lambda x: 4 * x**3, lambda x: 2 * (1 - x)),
    (lambda x: 4 * (1 - x) ** 3, lambda x: 2 * x),
)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)
"""Gauss's rule on [-1, 1]: exact for polynomials up to degree 7, and here the degree is at most 4"""


class Rule(Protocol):
    """A policy for two stages, piecewise constant in x."""

    def probability(self, x: np.ndarray, stage: int) -> np.ndarray:
        """Probabilities (n,) of action 1 for (n,) x."""

    def breaks(self, stage: int) -> np.ndarray:
        """Points (k,), in any order, between which the probabilities are constant."""


class DTRGame(Game):
    """One copy: the observation is (x, stage)."""

    limit = 2

    def __init__(self) -> None:
        self.actions, self.spec = Actions(num=2), Spec((2,), torch.float32, 2, 0)
        self.random = np.random.default_rng()
        self.obs = np.zeros(2, np.float32)

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.obs = np.array([self.random.random(), 0.0], np.float32)
        return self.obs

    def step(self, action):
        x, stage = self.obs
        if stage == 0:
            law = LAWS[action][int(self.random.random() >= x)]
            self.obs = np.array([self.random.beta(*law), 1.0], np.float32)
            return self.obs, 0.0, False, False
        reward = (3 * x if action else 1 + x) + self.random.normal()
        self.obs = np.array([x, 2.0], np.float32)
        return self.obs, float(reward), True, True


def nodes(breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (n,) and weights (n,) that integrate functions on [0, 1] which are polynomials between the breaks."""
    ends = np.unique(np.concatenate([[0.0, 1.0], breaks[(breaks > 0) & (breaks < 1)]]))
    half = np.diff(ends)[:, None] / 2
    return (ends[:-1, None] + half + half * NODES).ravel(), (half * WEIGHTS).ravel()


def value(rule: Rule) -> float:
    """Expected reward of a policy, exactly."""
    x, weight = nodes(rule.breaks(1))
    second = rule.probability(x, 1)
    reward = weight * (second * 3 * x + (1 - second) * (1 + x))
    after = [[float(density(x) @ reward) for density in pair] for pair in DENSITIES]
    x, weight = nodes(rule.breaks(0))
    first = rule.probability(x, 0)
    each = [x * one + (1 - x) * other for one, other in after]
    return float(weight @ (first * each[1] + (1 - first) * each[0]))


class Best:
    """The best policy."""

    def probability(self, x: np.ndarray, stage: int) -> np.ndarray:
        return (x >= 0.5 if stage else x < 5 / 14) * 1.0

    def breaks(self, stage: int) -> np.ndarray:
        return np.array([0.5 if stage else 5 / 14])


class Always(Best):
    """The best second action after the same first one."""

    def __init__(self, action: int):
        self.action = action

    def probability(self, x: np.ndarray, stage: int) -> np.ndarray:
        return super().probability(x, stage) if stage else np.full(len(x), float(self.action))


@dataclass(frozen=True, kw_only=True)
class DTR(EnvChoice):
    """The environment, and the exact values of policies for it."""

    def build(self, evaluation: bool = False) -> Game:
        return DTRGame()

    def rule_value(self, rule: Rule) -> float:
        return value(rule)

    def best_rule_value(self) -> float:
        return value(Best())
