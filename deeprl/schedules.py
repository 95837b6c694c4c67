"""Schedules: numbers that change over a run, and periods. Durations and periods are in environment steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from deeprl.choice import Choice, in_range


@dataclass(frozen=True)
class Constant(Choice):
    value: float = 1.0

    def __post_init__(self):
        in_range(self, value=(None, None))

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class Linear(Choice):
    """`start` until step `begin`, then a straight line that reaches `end` after `duration` steps and stays there."""

    start: float
    end: float
    duration: int
    begin: int = 0

    def __post_init__(self):
        in_range(self, start=(None, None), end=(None, None), duration=(1, None), begin=(0, None))

    def __call__(self, step: int) -> float:
        done = min(max((step - self.begin) / self.duration, 0.0), 1.0)
        return (1.0 - done) * self.start + done * self.end  # exact at both ends


@dataclass(frozen=True)
class Cosine(Linear):
    """As `Linear`, along half a cosine: slow at both ends."""

    def __call__(self, step: int) -> float:
        done = min(max((step - self.begin) / self.duration, 0.0), 1.0)
        done = 0.5 * (1.0 - math.cos(math.pi * done))
        return (1.0 - done) * self.start + done * self.end


def crossed(period: int | None, before: int, after: int) -> bool:
    """Whether a multiple of `period` lies in (before, after], an interval of any length; None has no multiples."""
    return period is not None and after // period > before // period


class Clock:
    """The progress of an agent, in environment steps and in updates, and the periods of its parts.

    Args:
        periods: in environment steps, by name.
    """

    def __init__(self, periods: Mapping[str, int]):
        self.periods = dict(periods)
        self.step = self.updates = 0
        self.at_last_end = dict.fromkeys(self.periods, 0)
        """For each period, the number of updates when it last ended with a new update in it"""

    def update(self) -> int:
        """Count one gradient update. Returns the new count."""
        self.updates += 1
        return self.updates

    def tick(self, before: int, after: int) -> tuple[str, ...]:
        """Set the step to `after`. Returns the names of the periods with a multiple in (before, after]."""
        self.step = after
        return tuple([name for name, period in self.periods.items() if crossed(period, before, after)])

    def with_updates(self, ended: tuple[str, ...]) -> tuple[str, ...]:
        """The ended periods in which at least one update was made. Steps go on without updates before learning starts, within a rollout,
        and after a resume without replay; a chain that shifts then would copy one network over all others."""
        found = tuple([name for name in ended if self.updates > self.at_last_end[name]])
        self.at_last_end.update(dict.fromkeys(found, self.updates))
        return found
