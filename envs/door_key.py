"""A room with a locked door, in the manner of MiniGrid's DoorKey, that says in words what happens.

N × N cells with walls around them. A wall with one door divides the room; agent and key begin left of it, the goal is in the lower right
corner. The four moves act on what lies there: a key is picked up, a door opens to who has the key. Reaching the goal at step t pays
1 − 0.9 t / limit. Wall, door, key and agent are drawn in every episode.

An observation ends with the message of the last step, one-hot over `messages`; zeros where nothing was said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from deeprl.choice import counts
from deeprl.types import Spec

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
MESSAGES = (
    "you pick up the key",
    "the door opens",
    "you bump into a wall",
    "the door is locked",
    "you walk through the door",
    "you see the goal",
)
KEY, OPENS, BUMP, LOCKED, THROUGH, GOAL = range(len(MESSAGES))


class DoorKeyGame(Game):
    """Places are (row, column), each one-hot over N; an observation has those of agent, key and door, whether the key is held and the door
    is open, and the message: (6 N + 2 + messages,)."""

    limit: int

    def __init__(self, choice: DoorKey):
        self.size, self.limit = choice.size, choice.max_episode_steps
        self.spec = Spec((6 * self.size + 2 + len(MESSAGES),), torch.float32, len(MOVES), 0)
        self.actions, self.random = Actions(num=len(MOVES)), np.random.default_rng()
        self.agent, self.key, self.door = (1, 1), (1, 1), (1, 1)
        self.held = self.open = False
        self.elapsed = 0

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        wall = int(self.random.integers(2, self.size - 2))
        self.door = int(self.random.integers(1, self.size - 1)), wall
        left = [(row, column) for row in range(1, self.size - 1) for column in range(1, wall)]
        one, other = self.random.choice(len(left), 2, replace=False)
        self.agent, self.key, self.held, self.open, self.elapsed = left[one], left[other], False, False, 0
        return self.seen(None)

    def step(self, action):
        message, (row, column) = None, np.add(self.agent, MOVES[action]).tolist()
        self.elapsed += 1
        if (row, column) == self.door and not self.open:
            self.open = self.held
            message = OPENS if self.open else LOCKED
        elif not (0 < row < self.size - 1 and 0 < column < self.size - 1) or (column == self.door[1] and row != self.door[0]):
            message = BUMP
        else:
            self.agent = row, column
            if self.agent == self.door:
                message = THROUGH
            elif self.agent == self.key and not self.held:
                self.held, message = True, KEY
        won = self.agent == (self.size - 2, self.size - 2)
        reward = 1.0 - 0.9 * self.elapsed / self.limit if won else 0.0
        return self.seen(GOAL if won else message), reward, won, won or self.elapsed >= self.limit

    def seen(self, message: int | None) -> np.ndarray:
        found = np.zeros(self.spec.obs_shape, np.float32)
        places = (*self.agent, *((None, None) if self.held else self.key), *self.door)
        for axis, place in enumerate(places):
            if place is not None:
                found[axis * self.size + place] = 1.0
        found[6 * self.size : 6 * self.size + 2] = self.held, self.open
        if message is not None:
            found[message - len(MESSAGES)] = 1.0
        return found


@dataclass(frozen=True, kw_only=True)
class DoorKey(EnvChoice):
    """
    Args:
        size: N, with the walls.
    """

    messages: ClassVar[tuple[str, ...]] = MESSAGES
    size: int = 8
    max_episode_steps: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, size=5, max_episode_steps=1)

    def build(self, evaluation: bool = False) -> Game:
        return DoorKeyGame(self)
