"""A cluster in this process, in place of Ray: what actors are asked for is done when it is waited for, and they die when a test says so."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from deeprl.running.collect.actor import RemoteActor
from deeprl.running.session import session
from tests.builders import CARTPOLE

WORDS = [word for word in CARTPOLE if not word.startswith("env.num")]
"""A run whose environments are those of its actors"""
TWO = ("collect=ray", "collect.actors=2", "collect.envs=1", "collect.ticks=7")


class Died(Exception):
    """What Ray's error about a dead actor is."""


class Reference:
    """A value that may not be there yet."""

    def __init__(self, compute: Callable[[], Any]):
        self.compute, self.value, self.done = compute, None, False

    def __call__(self) -> Any:
        if not self.done:
            self.value, self.done = self.compute(), True
        return self.value


def frozen(value: Any) -> Any:
    """A copy with read-only arrays, as Ray's object store gives it."""
    value = copy.deepcopy(value)

    def freeze(part: Any) -> None:
        if isinstance(part, np.ndarray):
            part.flags.writeable = False
        elif isinstance(part, dict):
            for each in part.values():
                freeze(each)
        elif isinstance(part, (list, tuple)):
            for each in part:
                freeze(each)

    freeze(value)
    return value


class Handle:
    def __init__(self, build: Callable, lives: int):
        self.actor, self.lives, self.last = RemoteActor(build), lives, Reference(lambda: None)

    def _after(self, call: Callable[[], Any]) -> Reference:
        """The calls of one actor in their order, whichever is waited for first."""
        before = self.last

        def compute() -> Any:
            before()
            return call()

        self.last = Reference(compute)
        return self.last

    def collect(self, weights: Reference, step: int, stride: int, ticks: int, state: Any) -> Reference:
        def call() -> Any:
            if self.lives == 0:
                return Died("killed. Some advice")
            self.lives -= 1
            return frozen(self.actor.collect(weights(), step, stride, ticks, frozen(state)))

        return self._after(call)

    def close(self) -> Reference:
        return Reference(self.actor.close)

    def kill(self) -> None:
        self.lives = 0
        self.actor.collector.envs.close()


class Local:
    """
    Args:
        lives: chunks that each started actor gives before it dies; actors after these live for ever.
        ended: whether all ends with the first actor that dies.
    """

    def __init__(self, lives: tuple[int, ...] = (), ended: bool = False):
        self.lives, self.ended, self.handles = list(lives), ended, []

    def start(self, build: Callable) -> Handle:
        self.handles.append(Handle(build, self.lives.pop(0) if self.lives else 1 << 62))
        return self.handles[-1]

    def ready(self, handle: Handle, seconds: float) -> None:
        return None

    def alive(self) -> bool:
        return not self.ended

    def put(self, value: Any) -> Reference:
        kept = frozen(value)
        return Reference(lambda: kept)

    def arrived(self, reference: Reference, seconds: float) -> bool:
        return True

    def fetch(self, reference: Reference) -> Any:
        return reference()


def stand_in(monkeypatch) -> Callable[..., Local]:
    """`use(lives, ended)` gives the cluster of the runs that follow; before its first call it is one that never fails."""
    present = [Local()]

    @contextlib.contextmanager
    def there(choice: Any) -> Iterator[Local]:
        yield present[0]

    monkeypatch.setattr(session, "cluster_for", there)

    def use(lives: tuple[int, ...] = (), ended: bool = False) -> Local:
        present[0] = Local(lives, ended)
        return present[0]

    return use
