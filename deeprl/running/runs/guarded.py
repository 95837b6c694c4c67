"""A logger in a thread of its own, so that what goes wrong there costs its lines and not the run."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from deeprl.running.runs.config_file import Config
from deeprl.running.runs.logger import Logger
from deeprl.system.terminal import described, say

MOST = 1000
"""Lines that wait for a logger that is slow"""
PATIENCE = 60.0
"""Seconds that the end of a run waits for a logger"""


class Guarded(Logger):
    """
    Args:
        name: in what is said when it fails.
        make: opens the logger, in the thread.
    """

    def __init__(self, name: str, make: Callable[[], Logger], most: int = MOST, patience: float = PATIENCE):
        self.name, self.patience = name, patience
        self._waiting: queue.Queue[tuple[str, tuple[object, ...]]] = queue.Queue(most)
        self._failed = False
        self._lost = 0
        self._last: list[tuple[str, tuple[object, ...]]] = []  # what is told before it is closed, and takes no place among the lines
        self._thread = threading.Thread(target=self._work, args=(make,), name=f"logger {name}", daemon=True)
        self._thread.start()

    def _work(self, make: Callable[[], Logger]) -> None:
        try:
            logger = make()
            while True:
                method, given = self._waiting.get()
                for told, values in [*(self._last if method == "close" else ()), (method, given)]:
                    if told != "ended" or hasattr(logger, told):  # a class of one's own may be older than it
                        getattr(logger, told)(*values)
                if method == "close":
                    return
        except BaseException as error:  # SystemExit too, which a package may raise where nobody is logged in
            self._failed = True
            say(f"the logger {self.name} has failed, and the run goes on without it: {described(error)}")

    def _give(self, method: str, *given: object) -> None:
        if self._failed:
            return
        try:
            self._waiting.put_nowait((method, given))
        except queue.Full:
            if not self._lost:
                say(f"the logger {self.name} does not answer: lines for it are left out until it does. metrics.jsonl has them all")
            self._lost += 1

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        self._give("scalars", step, dict(values), elapsed)  # its own, because others read theirs in other threads

    def text(self, step: int, name: str, text: str) -> None:
        self._give("text", step, name, text)

    def animation(self, step: int, name: str, gif: bytes) -> None:
        self._give("animation", step, name, gif)

    def hparams(self, config: Config, final: dict[str, float] | None) -> None:
        if final is None:
            self._give("hparams", dict(config), None)
        else:
            self._last.append(("hparams", (dict(config), dict(final))))

    def ended(self, state: str) -> None:
        self._last.append(("ended", (state,)))

    def flush(self, durable: bool) -> None:
        """Nothing: a checkpoint does not wait for it. What it has not got when a run is killed is in metrics.jsonl."""

    def close(self) -> None:
        until = time.monotonic() + self.patience
        while self._thread.is_alive() and time.monotonic() < until:  # a slow one too, because its run elsewhere would stay open
            with contextlib.suppress(queue.Full):
                self._waiting.put(("close", ()), timeout=0.1)
                break
        self._thread.join(max(until - time.monotonic(), 0.0))
        if self._thread.is_alive():
            left = self._waiting.qsize() + self._lost
            say(f"the logger {self.name} has not finished within {self.patience:g} s; it may lack {left:,} lines (metrics.jsonl has all)")
