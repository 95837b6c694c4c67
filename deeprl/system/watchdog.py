"""A watchdog that ends a hanging process, because Python cannot interrupt a C call of an environment or driver that never returns."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from deeprl.system.files import appending
from deeprl.system.terminal import alert

CHECKS = 20
"""Number of times within the limit that the thread checks for new beats."""
DEBUGGERS = ("bdb.py", "pdb.py", "pydevd.py", "pydevd_frame.py")


class Watchdog:
    """`with Watchdog(path, minutes, failed) as watchdog:` … `watchdog.beat()` at every environment step, also in evaluations.

    After `minutes` without a beat, a thread writes all stacks to stacks.txt, calls `failed` and ends the process with 1. It counts its
    own checks instead of reading a clock, because a clock also runs while the process is suspended. If the hanging call holds Python's
    global lock, the thread hangs too. In this case `faulthandler`, which needs no lock, writes the stacks and ends the process after twice
    the limit.

    Args:
        path: the run folder.
        minutes: the limit; None disables the watchdog.
        failed: function that writes the error to status.json.
        trusted: words with which `deeprl resume` accepts what the run names.
        leave: function that ends the process with an exit code.
    """

    def __init__(
        self,
        path: Path,
        minutes: float | None,
        failed: Callable[[str], object],
        leave: Callable[[int], object] = os._exit,
        trusted: str = "",
    ):
        self.folder, self.minutes, self.failed, self.leave, self.trusted = path, minutes, failed, leave, trusted
        self.path = path / "stacks.txt"
        self._beats = self._seen = self._idle = 0
        self._doing, self._way_past = "", ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        self._beats += 1

    @contextlib.contextmanager
    def during(self, doing: str, way_past: str) -> Iterator[None]:
        """In this block the message of a hang names what was going on.

        Args:
            doing: such as "the evaluation of step 1,000".
            way_past: overrides with which a resumed run does not come to the same hang again.
        """
        self._doing, self._way_past = f" in {doing}", way_past
        try:
            yield
        finally:
            self._doing, self._way_past = "", ""

    def __enter__(self) -> Watchdog:
        if self.minutes is not None:
            self._file = appending(self.path)  # after the stacks of an earlier process of the run
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

    def check(self) -> None:
        """Called `CHECKS` times within the limit."""
        self._idle = self._idle + 1 if self._beats == self._seen and not debugging() else 0
        self._seen = self._beats
        if self._idle >= CHECKS:
            self._end_process()

    def _watch(self) -> None:
        assert self.minutes is not None
        while not self._ended.wait(60 * self.minutes / CHECKS):
            self._arm()
            self.check()

    def _arm(self) -> None:
        assert self.minutes is not None
        faulthandler.dump_traceback_later(120 * self.minutes, exit=True, file=self._file)

    def _end_process(self) -> None:
        again = f"deeprl resume {shlex.quote(str(self.folder))}{self.trusted}"
        text = f"no progress for {self.minutes:g} minutes (runtime.watchdog){self._doing}: the stacks of all threads are in {self.path}"
        text += f". Past this place, if it hangs there again: {again} {self._way_past}" if self._way_past else ""
        with contextlib.suppress(OSError):  # the process must end even where the disk is full
            faulthandler.dump_traceback(self._file, all_threads=True)
            self.failed(text)
        alert(f"deeprl: {text}. The last checkpoint can be resumed: {again}")
        self.leave(1)


def debugging() -> bool:
    """Whether a thread is stopped in a debugger."""
    for frame in sys._current_frames().values():
        at = frame
        while at is not None:
            if os.path.basename(at.f_code.co_filename) in DEBUGGERS:
                return True
            at = at.f_back  # type: ignore[assignment]  # None at the end
    return False
