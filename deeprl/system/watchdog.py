"""A run that hangs in this process: a C call of an environment or a driver that never returns. Nothing can interrupt it from inside."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

LOOKS = 20
"""Looks at the pulse within the limit."""


DEBUGGERS = ("bdb.py", "pdb.py", "pydevd.py", "pydevd_frame.py")


class Watchdog:
    """`with Watchdog(path, minutes, failed) as watchdog:` … `watchdog.beat()` at every step, also of an evaluation.

    Without a beat for so many minutes, a thread writes all stacks to stacks.txt, calls `failed` and ends the process with 1. It
    counts its own looks, not hours, so that a suspended process is not mistaken for a hanging one. If the hanging call holds Python's
    global lock, that thread hangs too: after twice the limit `faulthandler`, which needs no lock, writes the stacks and ends the process.

    Args:
        path: the run folder.
        minutes: the limit; None is no watchdog.
        failed: called with what to write into status.json.
    """

    def __init__(self, path: Path, minutes: float | None, failed: Callable[[str], object], leave: Callable[[int], object] = os._exit):
        self.folder, self.minutes, self.failed, self.leave = path, minutes, failed, leave
        self.path: Path = path / "stacks.txt"
        self._beats = self._seen = self._silent = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        self._beats += 1

    def __enter__(self) -> Watchdog:
        if self.minutes is not None:
            self._file = open(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), "w")
            self._arm()
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.minutes is not None:
            self._ended.set()
            self._thread.join()
            faulthandler.cancel_dump_traceback_later()
            self._file.close()
            with contextlib.suppress(OSError):
                if not self.path.stat().st_size:
                    self.path.unlink()

    def look(self) -> None:
        """Called some `LOOKS` times within the limit."""
        self._silent = self._silent + 1 if self._beats == self._seen and not debugging() else 0
        self._seen = self._beats
        if self._silent >= LOOKS:
            self._bite()

    def _watch(self) -> None:
        assert self.minutes is not None
        while not self._ended.wait(60 * self.minutes / LOOKS):
            self._arm()
            self.look()

    def _arm(self) -> None:
        assert self.minutes is not None
        faulthandler.dump_traceback_later(120 * self.minutes, exit=True, file=self._file)

    def _bite(self) -> None:
        text = f"no progress for {self.minutes:g} minutes (runtime.watchdog): the stacks of all threads are in {self.path}"
        with contextlib.suppress(OSError):  # whatever fails, the process must end
            faulthandler.dump_traceback(self._file, all_threads=True)
            self.failed(text)
        os.write(2, f"\ndeeprl: {text}. What was saved before can be resumed: deeprl resume {self.folder}\n".encode())
        self.leave(1)


def debugging() -> bool:
    """Whether some thread stands in a debugger."""
    for frame in sys._current_frames().values():
        at = frame
        while at is not None:
            if os.path.basename(at.f_code.co_filename) in DEBUGGERS:
                return True
            at = at.f_back  # type: ignore[assignment]  # None at the end
    return False
