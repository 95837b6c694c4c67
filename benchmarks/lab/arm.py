"""What an experiment is: arms, of which each is an agent in a world."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from deeprl_lab.planning_agent import PlanningAgent


class Arm(NamedTuple):
    """One row of the table."""

    world: Any
    make: partial[PlanningAgent]
    """Partial of an agent; takes `spec`, `seed` and `world`"""

    @property
    def settings(self) -> str:
        """All settings, as text."""
        return f"{self.world!r} {self.make.func.__name__} {self.make.keywords!r}"


class Experiment(NamedTuple):
    claim: str
    episodes: int
    arms: dict[str, Arm]
    shown: tuple[str, ...] = ()
    """Metrics of the agents' own that the table shows at half and at the end"""
