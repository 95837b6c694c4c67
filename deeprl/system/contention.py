"""A notice for a run that other programs keep from the cores."""

from __future__ import annotations

import time
from collections.abc import Callable

from deeprl.system.machine import waited_for_cores

SPAN = 30.0


class Contention:
    """How long this process waits for cores, looked at from time to time.

    Args:
        threads: `runtime.threads` of the run.
        waited: seconds that threads of this process have waited for a core; None where the system does not tell.
    """

    def __init__(
        self,
        threads: int,
        clock: Callable[[], float] = time.monotonic,
        waited: Callable[[], float | None] = waited_for_cores,
    ):
        self.threads, self._clock, self._waited = threads, clock, waited
        self._at, self._before, self._reported = clock(), waited() or 0.0, False

    def notice(self) -> str | None:
        """A sentence, once, if threads have waited for half of the last 30 s or longer."""
        now = self._clock()
        passed = now - self._at
        if passed < SPAN or self._reported:
            return None
        waited = self._waited() or 0.0
        self._reported = waited - self._before >= passed / 2
        text = f"other programs use the cores: in {passed:.0f} s threads of this run waited {waited - self._before:.0f} s for one"
        self._at, self._before = now, waited
        if not self._reported:
            return None
        return f"{text}. A run with runtime.threads=1 waits less than one with {self.threads}" if self.threads > 1 else text
