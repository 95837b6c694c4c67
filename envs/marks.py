"""A world whose observation is an image and a vector, where either alone is worth nothing.

Two marks of different kinds lie on a board of size × size squares. The image (3, size, size) shows the walker and each kind in a plane, the
vector (2,) which kind counts, as a one-hot. A step onto the mark that counts earns 1, onto the other −1, and both terminate; every other
step costs 1 / limit, and after `limit` of them the episode is cut off. Which of the kinds counts is even odds and independent of the board,
so that without the vector, and by symmetry without the image, no policy has a return above 0; the best with both is near 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deeprl.choice import in_range
from deeprl.packing import arranged, pack, packed_spec
from deeprl.types import ObsPart

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice

MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
NAMES = ("image", "which")


class MarksGame(Game):
    limit: int

    def __init__(self, choice: Marks):
        self.size, self.limit, self.shown = choice.size, choice.max_episode_steps, choice.shown
        one = np.ones(2, np.float32)
        self.actions = Actions(num=0, low=-one, high=one, shape=(2,)) if choice.continuous else Actions(num=len(MOVES))
        image = ObsPart("image", (3, self.size, self.size), torch.uint8, image=True, scaled=False)
        parts = arranged(part for part in (image, ObsPart("which", (2,), torch.float32, scaled=False)) if part.name in self.shown)
        self.spec = packed_spec(parts, self.actions.num, 2 * choice.continuous)
        self.random = np.random.default_rng()
        self.places, self.which, self.elapsed = np.zeros((3, 2), np.float32), 0, 0
        """Squares of the walker and of both marks; the walker's are no whole numbers where actions are continuous"""

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        squares = self.random.choice(self.size**2, 3, replace=False)
        self.places = np.stack(np.unravel_index(squares, (self.size, self.size)), -1).astype(np.float32)
        self.which, self.elapsed = int(self.random.integers(2)), 0
        return self.obs()

    def step(self, action):
        move = MOVES[action] if self.actions.num else np.asarray(action)
        self.places[0] = np.clip(self.places[0] + move, 0, self.size - 1)
        self.elapsed += 1
        met = [kind for kind in range(2) if (self.squares[0] == self.squares[1 + kind]).all()]
        reward = (1.0 if met[0] == self.which else -1.0) if met else -1.0 / self.limit
        return self.obs(), reward, bool(met), bool(met) or self.elapsed >= self.limit

    @property
    def squares(self) -> np.ndarray:
        """(3, 2) int64"""
        return np.rint(self.places).astype(np.int64)

    def obs(self) -> np.ndarray:
        image = np.zeros((3, self.size, self.size), np.uint8)
        for plane, (row, column) in enumerate(self.squares):
            image[plane, row, column] = 1
        values = {"image": image, "which": np.eye(2, dtype=np.float32)[self.which]}
        return pack(self.spec, [values[part.name] for part in self.spec.parts])


@dataclass(frozen=True, kw_only=True)
class Marks(EnvChoice):
    size: int = 5
    continuous: bool = False
    """An action is the walk itself, in squares, at most one along each axis"""
    shown: Sequence[str] = NAMES
    """Parts of the observation: image, which"""
    max_episode_steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, size=(3, None), max_episode_steps=(1, None))
        if not self.shown or not {*self.shown} <= {*NAMES}:
            raise ValueError(f"shown must be some of {', '.join(NAMES)}, not {self.shown!r}")

    def build(self, evaluation: bool = False) -> Game:
        return MarksGame(self)
