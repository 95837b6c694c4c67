"""Wall time of a run: over all of its starts, and the speed of training without evaluations and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """
    Attributes:
        before: seconds of earlier starts of the run.
        saved: clock of the last checkpoint.
    """

    def __init__(self) -> None:
        self.before = 0.0
        self.started = self.saved = time.monotonic()
        self._from: tuple[float, int, int] | None = None
        """Clock, steps and updates when warm-up ended in this process; the clock without pauses"""

    def start(self) -> None:
        self.started = self.saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return time.monotonic() - self.started + self.before

    @property
    def running(self) -> bool:
        """Whether speeds are measured."""
        return self._from is not None

    def measure(self, step: int, updates: int) -> None:
        """Warm-up ends here."""
        self._from = time.monotonic(), step, updates

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Time that is none of training."""
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
