"""Signals that stop a run at its next environment step: SIGTERM, SIGUSR1, SIGUSR2 (from submitit) and SIGXCPU, which schedulers send,
SIGHUP, which a closed terminal sends, and the first Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from deeprl.errors import STOPPED, Stopped
from deeprl.system.portable import signals
from deeprl.system.terminal import alert

HANDLED = signals("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU", "SIGBREAK", "SIGINT")
HANGUP = signals("SIGHUP")
"""Those that nohup ignores"""


def leave_at_signals() -> None:
    """Leave with the code of a run that is saved at every signal of `HANDLED`, for a process that will train: until training has its own
    handlers, and after it, there is nothing to save. A signal that nohup ignores stays ignored."""
    for number in HANDLED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    alert(f"{signal.Signals(number).name} before the first step or after the end: nothing is left to save")
    os._exit(STOPPED)


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt in this block, as Ctrl-C does, so that its temporary files are removed. Outside of the
    main thread it does nothing."""
    main = threading.current_thread() is threading.main_thread()
    wanted = [n for n in (signal.SIGTERM, *HANGUP) if signal.getsignal(n) != signal.SIG_IGN] if main else []
    before = {number: signal.signal(number, signal.default_int_handler) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


class Signals:
    """`with Signals() as signals:` … `signals.raise_if_stopped()` at every step. A second Ctrl-C raises KeyboardInterrupt at once.

    Outside of the main thread it does nothing, because Python delivers signals to that thread only.

    Args:
        signalled: from the number of the signal that this process has received, or 0, that of the signal to stop at: `Ranks.signalled`.
    """

    def __init__(self, signalled: Callable[[int], int] | None = None) -> None:
        self.stop: str | None = None
        """Name of the first signal received."""
        self._signalled = signalled
        self._interrupted = False
        self._before: dict[int, object] = {}

    def raise_if_stopped(self) -> None:
        """
        Raises:
            Stopped: a signal was received.
        """
        stop = self.stop
        if self._signalled is not None:
            number = self._signalled(signal.Signals[stop] if stop else 0)
            stop = signal.Signals(number).name if number else None
        if stop is not None:
            raise Stopped(f"stopped by {stop}")

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            wanted = [n for n in HANDLED if n not in HANGUP or signal.getsignal(n) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._handle) for number in wanted}
        return self

    def arm(self) -> None:
        """Take the signals again, where an environment has taken them since."""
        for number in self._before:
            if signal.getsignal(number) != self._handle:
                signal.signal(number, self._handle)

    def __exit__(self, *error: object) -> None:
        """A signal that has come is one for a run around this one too, which trains it in a listener."""
        for number, handler in self._before.items():
            around = getattr(handler, "__self__", None)
            if isinstance(around, Signals):
                around.stop = around.stop or self.stop
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]  # None: not set from Python
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt
            self._interrupted = True
        self.stop = self.stop or signal.Signals(number).name
        hint = "; Ctrl-C again leaves at once, without saving" if number == signal.SIGINT else ""
        alert(f"{signal.Signals(number).name}: saving at the next step{hint}")
