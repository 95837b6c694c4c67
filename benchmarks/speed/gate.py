"""A contestant works in slices, so that many can be measured in turn: at the gate it says how long its slice took, and waits for the next.
A slice is a number of units, and may have a number of seconds after which it ends in any case.

The conversation runs over the process' own standard output and input, one line each way; whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable


class Gate:
    """Count units (updates, environment steps) and stop at the end of each slice.

    Args:
        warm_up: units before the first stop, which is not measured.
        finish: called at the end of a slice, before the clock is read; it waits for a device.
    """

    def __init__(self, warm_up: int, finish: Callable[[], object] | None = None):
        self.finish = finish
        self.out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self.left = warm_up
        self.done = 0
        self.until = math.inf
        self.started, self.used = time.perf_counter(), time.process_time()

    def passed(self, units: int = 1) -> None:
        """
        Raises:
            SystemExit: the race is over.
        """
        self.left -= units
        self.done += units
        if self.left > 0 and (self.until == math.inf or time.perf_counter() < self.until):
            return
        if self.finish is not None:
            self.finish()
        spent = {"seconds": time.perf_counter() - self.started, "processor": time.process_time() - self.used}
        self.out.write(json.dumps({"units": self.done, **spent}) + "\n")
        line = sys.stdin.readline().split()
        if not line:
            os._exit(0)  # neither evaluations nor checkpoints of a run that nobody wants
        self.left, self.done = int(line[0]), 0
        self.started, self.used = time.perf_counter(), time.process_time()
        self.until = self.started + float(line[1]) if line[1:] else math.inf
