"""Bandits whose task is drawn anew in each episode, so that an agent with memory learns to explore within it.

    bandit            two arms, p ~ Beta(1, 1) each
    switching_bandit  arms .8 and .2, which swap after a step with a probability drawn per episode
    latent_bandit     arms .9 and .1, or .1 and .9

An observation is the last action, one-hot, the last reward, and 1 in the first step: what memory-based meta-learning feeds its network
(Wang et al., 2016; Mikulik et al., 2020, "Meta-trained agents implement Bayes-optimal agents"). Returns are undiscounted, and the last step
is a termination: nothing follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deeprl.choice import in_range
from deeprl.types import Spec

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice


class BanditGame(Game):
    """Two arms whose probabilities `choice.draw` gives, with the probability that they swap after a step."""

    def __init__(self, choice: BanditChoice):
        self.choice, self.limit = choice, choice.steps
        self.spec, self.actions = Spec((4,), torch.float32, 2, 0), Actions(num=2)
        self.random = np.random.default_rng()
        self.arms, self.swap, self.elapsed = (0.5, 0.5), 0.0, 0

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.arms, self.swap = self.choice.draw(self.random)
        self.elapsed = 0
        return np.array([0, 0, 0, 1], np.float32)

    def step(self, action):
        reward = float(self.random.random() < self.arms[action])
        if self.random.random() < self.swap:
            self.arms = self.arms[::-1]
        self.elapsed += 1
        ended = self.elapsed == self.limit
        return np.array([action == 0, action == 1, reward, 0], np.float32), reward, ended, ended


@dataclass(frozen=True, kw_only=True)
class BanditChoice(EnvChoice):
    steps: int = 20
    """T, pulls of an episode"""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, steps=(1, None))

    def draw(self, random: np.random.Generator) -> tuple[tuple[float, float], float]:
        """A task: the arms' probabilities, and the probability that they swap after a step."""
        raise NotImplementedError

    def build(self, evaluation: bool = False) -> Game:
        return BanditGame(self)


@dataclass(frozen=True, kw_only=True)
class Bandit(BanditChoice):
    def draw(self, random):
        return (float(random.random()), float(random.random())), 0.0


@dataclass(frozen=True, kw_only=True)
class SwitchingBandit(BanditChoice):
    swaps: Sequence[float] = (0.0, 0.05, 0.1, 0.3)
    """Probabilities of which an episode has one"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.swaps or not all(0 <= swap <= 1 for swap in self.swaps):
            raise ValueError(f"swaps must be probabilities, one at least, not {list(self.swaps)}")

    def draw(self, random):
        swap = float(self.swaps[int(random.integers(len(self.swaps)))])
        return ((0.8, 0.2), (0.2, 0.8))[int(random.integers(2))], swap


@dataclass(frozen=True, kw_only=True)
class LatentBandit(BanditChoice):
    def draw(self, random):
        return ((0.9, 0.1), (0.1, 0.9))[int(random.integers(2))], 0.0
