"""MinAtar's five games (Young and Tian, 2019): (channels, 10, 10) uint8 of zeros and ones, six actions, sticky with probability 0.1.

`minatar.gym` is not used, because it has no time limit and keeps the last action across resets: a new episode could start with an action of
the old one.
"""

from __future__ import annotations

import colorsys
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from runpy import run_path
from typing import Any, ClassVar

import numpy as np
import torch

from deeprl.choice import in_range, one_of
from deeprl.system.machine import extra
from deeprl.types import Spec

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
CELL = 16
"""Width of a cell in a frame, in pixels"""


@cache
def rules(game: str) -> Any:
    """The class of a game, from its file alone: the package imports matplotlib and seaborn, which takes longer than all of ours, to show
    games on a screen.

    Raises:
        ValueError: minatar is not installed.
    """
    package = importlib.util.find_spec("minatar")
    if package is None or package.origin is None:
        raise ValueError(f"env=minatar/{game} needs the package minatar: {extra('minatar')}")
    return run_path(str(Path(package.origin).with_name("environments") / f"{game}.py"))["Env"]


def picture(obs: np.ndarray) -> np.ndarray:
    """(channels, 10, 10) -> (160, 160, 3) uint8, RGB: a colour for each channel."""
    channels, height, width = obs.shape
    image = np.zeros((height, width, 3), np.uint8)
    for channel in reversed(range(channels)):  # the first channel is the player's and is drawn last, on top
        image[obs[channel] != 0] = [round(255 * part) for part in colorsys.hsv_to_rgb(channel / channels, 0.75, 1.0)]
    return image.repeat(CELL, 0).repeat(CELL, 1)


class MinAtarGame(Game):
    fps = 15.0
    limit: int
    observation = "the state of MinAtar with the channels first: state().transpose(2, 0, 1), as 0 and 1"

    def __init__(self, choice: MinAtar):
        self.limit, self.sticky = choice.max_episode_steps, choice.sticky
        self.game = rules(choice.game)(ramping=choice.difficulty_ramping)
        self.random = np.random.RandomState()  # the generator of `minatar.Environment`, whose numbers these are
        self.last_action = 0
        self.set = self.game.minimal_action_set() if choice.minimal_action_set else list(range(len(self.game.action_map)))
        height, width, channels = self.game.state_shape()
        self.actions = Actions(num=len(self.set))
        self.spec = Spec((channels, height, width), torch.uint8, len(self.set), 0)
        self.elapsed = 0

    def reset(self, seed):
        if seed is not None:
            self.random = self.game.random = np.random.RandomState(seed)
        self.last_action = 0
        self.game.reset()
        self.elapsed = 0
        return self._observe()

    def step(self, action):
        if self.random.rand() >= self.sticky:
            self.last_action = self.set[action]
        reward, terminal = self.game.act(self.last_action)
        self.elapsed += 1
        terminal = bool(terminal)
        return self._observe(), float(reward), terminal, terminal or self.elapsed >= self.limit

    def frame(self):
        return picture(self._observe())

    def _observe(self) -> np.ndarray:
        return self.game.state().transpose(2, 0, 1).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class MinAtar(EnvChoice):
    pictures: ClassVar[bool] = True

    game: str
    sticky: float = 0.1
    difficulty_ramping: bool = True
    minimal_action_set: bool = False
    """Only the actions that do something; the papers use all six"""
    max_episode_steps: int = 10_000
    """Truncation; MinAtar itself has no limit, and a good policy plays Breakout for ever"""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, game=GAMES)
        in_range(self, sticky=(0, 1), max_episode_steps=(1, None))

    @property
    def name(self) -> str:
        return f"minatar {self.game}"

    def build(self, evaluation: bool = False) -> Game:
        return MinAtarGame(self)
