"""Tasks of Gymnasium-Robotics: `env=robotics/fetch_reach`. Most have goals, which `replay=hindsight` exchanges. `success` of their `info`
counts as `is_success`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import gymnasium

from deeprl.system.machine import extra

from .gym import GymGame, Registered


@dataclass(frozen=True, kw_only=True)
class Robotics(Registered):
    """A task of Gymnasium-Robotics, by its id. Observation and goals are one vector."""

    def build(self, evaluation: bool = False) -> GymGame:
        """
        Raises:
            ValueError: Gymnasium-Robotics is not installed, or the task cannot be made.
        """
        try:
            package = importlib.import_module("gymnasium_robotics")
        except ImportError as error:
            raise ValueError(f"id={self.id} needs Gymnasium-Robotics ({error}): {extra('robotics')}") from error
        except OSError as error:  # of a library that MuJoCo 4 has left beside the older one
            raise ValueError(f"MuJoCo does not load ({error}): in a new virtual environment, {extra('robotics')}") from error
        gymnasium.register_envs(package)
        try:
            return super().build(evaluation)
        except AssertionError as error:
            raise ValueError(f"id={self.id} does not go with this MuJoCo: in a new virtual environment, {extra('robotics')}") from error
