"""Numbers of the task that an environment tells in `info` beside the reward, such as `is_success`, gathered over each episode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from deeprl.envs.answers import number

Info = Mapping[str, float]
"""Numbers of an episode by name"""
NOTHING: Info = {}
SUCCESS = "is_success"
NUMBERS = (bool, int, float, np.bool_, np.number)
"""Types of a `success` that is a number; what else an environment calls so is left alone"""


class EpisodeInfo:
    """The running episode of one environment.

    Args:
        names: how each number is gathered: `last` (its value in the last step), `sum` or `mean` (over the steps that tell it).
    """

    def __init__(self, names: Mapping[str, str]):
        self.names = names
        self.running = tuple(name for name, how in names.items() if how != "last")
        self.reads = (*names, *(["success"] if SUCCESS in names else []))
        """Names in the `info` of a step that `note` looks for"""
        self.begin()

    def begin(self) -> None:
        self.newest: Mapping[str, Any] = {}
        self.sums = dict.fromkeys(self.running, 0.0)
        self.counts = dict.fromkeys(self.running, 0)

    def note(self, info: Mapping[str, Any]) -> None:
        """Take the `info` of a step. Its `success` counts as `is_success`, as mazes, Adroit and simulators of robots call it."""
        if "success" in info and "success" in self.reads and SUCCESS not in info and isinstance(info["success"], NUMBERS):
            info = {**info, SUCCESS: info["success"]}
        self.newest = info
        for name in self.running:
            if name in info:
                self.sums[name] += self._number(name, info[name])
                self.counts[name] += 1

    def of_episode(self) -> Info:
        """The numbers that the episode has told up to now. One that it has not told, or that is not finite, is left out."""
        found = {}
        for name, how in self.names.items():
            if how == "last" and name in self.newest:
                found[name] = self._number(name, self.newest[name])
            elif self.counts.get(name):
                found[name] = self.sums[name] / (self.counts[name] if how == "mean" else 1)
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def so_far(self) -> Info:
        """The same of an episode that is cut off, where a wrong number is no failure of a step."""
        try:
            return self.of_episode()
        except TypeError:
            return NOTHING

    def _number(self, name: str, value: object) -> float:
        """
        Raises:
            TypeError: `value` is no number.
        """
        try:
            return number(value)
        except TypeError:
            kind = type(value).__name__
            raise TypeError(f'info["{name}"] is {kind} {value!r:.100}, not a number: leave {name} out of log.info') from None
