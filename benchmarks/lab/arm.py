"""What an experiment is: arms, of which each is an agent in a world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from deeprl.planning_agent import PlanningAgent


class Arm(NamedTuple):
    """One row of the table."""

    world: Any
    make: Callable[..., PlanningAgent]
    """Takes `spec`, `seed` and `world`"""


class Experiment(NamedTuple):
    claim: str
    episodes: int
    arms: dict[str, Arm]
    shown: tuple[str, ...] = ()
    """Metrics of the agents' own that the table shows at half and at the end"""
