"""Wall time of a run: over all of its starts, and the speed of training without evaluations and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Wall time of a run and speed of its training.

    Attributes:
        before: seconds of the run in earlier processes.
        saved: monotonic time of the last checkpoint.
    """

    def __init__(self) -> None:
        self.before = 0.0
        self.started = self.saved = time.monotonic()
        self._from: tuple[float, int, int] | None = None
        """Time, steps and updates at the end of warm-up in this process; pauses shift the time"""

    def start(self) -> None:
        self.started = self.saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of the whole run, in seconds."""
        return time.monotonic() - self.started + self.before

    def past(self, minutes: float | None, hours: float | None) -> tuple[bool, bool]:
        """Whether the last checkpoint is older than `minutes`, and the run older than `hours`; None is never."""
        overdue = minutes is not None and time.monotonic() - self.saved > 60 * minutes
        return overdue, hours is not None and self.seconds > 3600 * hours

    @property
    def running(self) -> bool:
        """Whether speeds are measured."""
        return self._from is not None

    def measure(self, step: int, updates: int) -> None:
        """Start to measure speeds, at the end of warm-up."""
        self._from = time.monotonic(), step, updates

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Exclude this block from the speed of training."""
        began = time.monotonic()
        yield
        if self._from is not None:
            clock, step, updates = self._from
            self._from = clock + time.monotonic() - began, step, updates

    def speeds(self, step: int, updates: int) -> dict[str, float]:
        """Steps and updates a second since warm-up."""
        if self._from is None:
            return {}
        clock, first, done = self._from
        passed = max(time.monotonic() - clock, 1e-9)
        return {"time/fps": (step - first) / passed, "time/updates_per_second": (updates - done) / passed}
