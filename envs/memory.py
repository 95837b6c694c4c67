"""Worlds that cannot be solved without memory, with known values: what must be remembered is seen once.

    recall     a cue, D blank steps, a query                     without memory 1/C, best 1
    tmaze      a cue, a corridor, a turn at its end              without memory 1/2, best 1 (Bakker, 2002)
    repeat_k   the symbol of k steps ago at every step           at random 2/C − 1, best 1 (after popgym's RepeatPrevious)

Each return is undiscounted. An episode's end is a termination, because nothing follows it; but for the time limit of the T-maze, where the
turn may still come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deeprl.choice import in_range
from deeprl.types import Spec

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice


class SeededGame(Game):
    """A game of one-hot observations (size,) and `num` actions, whose generator starts anew with each seed."""

    limit: int

    def __init__(self, size: int, num: int):
        self.spec, self.actions = Spec((size,), torch.float32, num, 0), Actions(num=num)
        self.rows = np.eye(size, dtype=np.float32)
        self.random = np.random.default_rng()
        self.elapsed = 0

    def seed(self, seed: int | None) -> None:
        """To be called first in `reset`."""
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.elapsed = 0


class RecallGame(SeededGame):
    """Observations: cues 0 … C − 1, the blank C, the query C + 1."""

    def __init__(self, choice: Recall):
        super().__init__(choice.cues + 2, choice.cues)
        self.cues, self.delay, self.limit = choice.cues, choice.delay, choice.delay + 2
        self.cue = 0

    def reset(self, seed):
        self.seed(seed)
        self.cue = int(self.random.integers(self.cues))
        return self.rows[self.cue]

    def step(self, action):
        ended = self.elapsed == self.delay + 1  # the action answers the query
        self.elapsed += 1
        return self.rows[self.cues + (self.elapsed > self.delay)], float(ended and action == self.cue), ended, ended


@dataclass(frozen=True, kw_only=True)
class Recall(EnvChoice):
    cues: int = 4
    """C, also the number of actions"""
    delay: int = 40
    """D, blank steps between cue and query"""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, cues=(2, None), delay=(0, None))

    def build(self, evaluation: bool = False) -> Game:
        return RecallGame(self)


FORWARD, UP, DOWN = range(3)


class TMazeGame(SeededGame):
    """Observations: cue up, cue down, corridor, junction. Actions: forward, up, down. Up and down stand still in the corridor and forward
    does at the junction."""

    def __init__(self, choice: TMaze):
        super().__init__(4, 3)
        self.length, self.still = choice.length, choice.still
        self.limit = 3 * (choice.length + 1)
        self.place = self.cue = 0

    def reset(self, seed):
        self.seed(seed)
        self.place, self.cue = 0, int(self.random.integers(2))
        return self.rows[self.cue]

    def step(self, action):
        self.elapsed += 1
        turned = self.place == self.length and action != FORWARD
        moved = self.place < self.length and action == FORWARD
        self.place += moved
        reward = float(action == (UP, DOWN)[self.cue]) if turned else 0.0 if moved else self.still
        obs = self.rows[3 if self.place == self.length else 2 if self.place else self.cue]
        return obs, reward, turned, turned or self.elapsed >= self.limit


@dataclass(frozen=True, kw_only=True)
class TMaze(EnvChoice):
    length: int = 10
    """Steps from the cue to the junction"""
    still: float = 0.0
    """Reward of a step that does not move"""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, length=(1, None), still=(None, 0))

    def build(self, evaluation: bool = False) -> Game:
        return TMazeGame(self)


class RepeatGame(SeededGame):
    """Observations: symbols, independent and uniform. The first k answers score nothing, the others ±1 / (steps − k)."""

    def __init__(self, choice: RepeatK):
        super().__init__(choice.symbols, choice.symbols)
        self.symbols, self.k, self.limit = choice.symbols, choice.k, choice.steps
        self.shown: list[int] = []

    def reset(self, seed):
        self.seed(seed)
        self.shown = []
        return self._show()

    def step(self, action):
        reward = 0.0
        if self.elapsed >= self.k:
            right = action == self.shown[self.elapsed - self.k]
            reward = (1.0 if right else -1.0) / (self.limit - self.k)
        self.elapsed += 1
        ended = self.elapsed == self.limit
        return self._show(), reward, ended, ended

    def _show(self) -> np.ndarray:
        self.shown.append(int(self.random.integers(self.symbols)))
        return self.rows[self.shown[-1]]


@dataclass(frozen=True, kw_only=True)
class RepeatK(EnvChoice):
    k: int = 3
    """Steps between a symbol and the action that repeats it; popgym's hand holds the present card, so that its k is one more"""
    symbols: int = 4
    steps: int = 51
    """Length of an episode"""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, k=(0, None), symbols=(2, None), steps=(1, None))
        if self.steps <= self.k:
            raise ValueError(f"steps must be above k={self.k}, not {self.steps}: no answer would score")

    def build(self, evaluation: bool = False) -> Game:
        return RepeatGame(self)
