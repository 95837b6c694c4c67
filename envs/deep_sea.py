"""DeepSea (Osband and others, Behaviour Suite, 2020): a reward that N right moves in a row reach, and that all others point away from.

A grid of N × N cells, one row a step. Which action moves right is drawn for each cell, once for all episodes. A move to the right costs
cost / N; the last one from the last column pays 1. The best return is 1 − cost, and at random it is found in one of 2^N episodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deeprl.choice import counts, in_range
from deeprl.types import Spec

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice


class DeepSeaGame(Game):
    """An observation is the cell, one-hot (N²,); zeros at the end."""

    def __init__(self, choice: DeepSea):
        self.size, self.cost = choice.size, choice.cost / choice.size
        self.right = np.random.default_rng(choice.world).integers(2, size=(choice.size, choice.size))
        self.spec, self.actions, self.limit = Spec((choice.size**2,), torch.float32, 2, 0), Actions(num=2), choice.size
        self.row = self.column = 0

    def reset(self, seed):
        self.row = self.column = 0
        return self.seen()

    def step(self, action):
        right = bool(action == self.right[self.row, self.column])
        treasure = right and self.column == self.size - 1
        reward = float(treasure) - self.cost * right
        self.row, self.column = self.row + 1, min(max(self.column + (1 if right else -1), 0), self.size - 1)
        ended = self.row == self.size
        return self.seen(), reward, ended, ended

    def seen(self) -> np.ndarray:
        cells = np.zeros(self.size**2, np.float32)
        if self.row < self.size:
            cells[self.row * self.size + self.column] = 1.0
        return cells


@dataclass(frozen=True, kw_only=True)
class DeepSea(EnvChoice):
    """
    Args:
        size: N.
        cost: of N moves to the right.
        world: number of the world, by which the actions are drawn.
    """

    size: int = 10
    cost: float = 0.01
    world: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, size=2, world=0)
        in_range(self, cost=(0, 1))

    def build(self, evaluation: bool = False) -> Game:
        return DeepSeaGame(self)
