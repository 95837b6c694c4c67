"""Coins of 1 and 3 on a square of 4 x 4 cells: every sum from 0 to 6 can be collected in ten steps, and none is better than the others
unless somebody says so."""

from __future__ import annotations

import numpy as np
import torch

from deeprl.types import Spec

from .vector.actions import Actions
from .vector.backend import Game

SIZE = 4
COINS = {(0, 2): 1.0, (2, 0): 1.0, (3, 1): 1.0, (2, 2): 3.0}
"""Cell: what lies there"""
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Up, down, left, right"""


class CoinGame(Game):
    """A walk from the corner (0, 0); a coin is taken where the walk comes by. The observation is the cell, one-hot, then for each coin
    whether it lies there, then the share of steps that is left. After `limit` steps the episode terminates."""

    limit: int

    def __init__(self, limit: int):
        self.limit = limit
        self.spec = Spec((SIZE * SIZE + len(COINS) + 1,), torch.float32, len(MOVES), 0)
        self.actions = Actions(num=len(MOVES))
        self.reset(None)

    def reset(self, seed):
        self.cell, self.elapsed, self.left = (0, 0), 0, dict(COINS)
        return self._obs()

    def step(self, action):
        down, right = MOVES[int(action)]
        self.cell = min(max(self.cell[0] + down, 0), SIZE - 1), min(max(self.cell[1] + right, 0), SIZE - 1)
        self.elapsed += 1
        reward, over = self.left.pop(self.cell, 0.0), self.elapsed >= self.limit
        return self._obs(), reward, over, over

    def _obs(self) -> np.ndarray:
        obs = np.zeros(self.spec.obs_shape, np.float32)
        obs[self.cell[0] * SIZE + self.cell[1]] = 1.0
        obs[SIZE * SIZE : -1] = [cell in self.left for cell in COINS]
        obs[-1] = 1 - self.elapsed / self.limit
        return obs
