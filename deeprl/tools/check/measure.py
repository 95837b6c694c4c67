"""Measurement of the trainer of a run: the loop itself, for a few seconds, with every call of its parts timed.

The trainer starts in the middle of the run, where exploration has fallen and the policy acts, behind a phase in which not all losses are
learned, with an empty replay; its first updates are made as soon as the replay holds a batch. It is stopped as by a signal, so that it also
writes a checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from deeprl.errors import Stopped
from deeprl.learning.agent import Agent
from deeprl.replay.source import Source
from deeprl.running.config.rules import MOST
from deeprl.running.config.sources import planned_updates
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.loggers import Logging
from deeprl.running.training.learner import Learner
from deeprl.running.training.trainer import Trainer
from deeprl.system.progress import Progress
from deeprl.system.signals import Signals
from deeprl.system.watchdog import Watchdog
from deeprl.tools.check.record import Evaluating, Speed

P = ParamSpec("P")
T = TypeVar("T")
LONGEST_WAIT = 10_000
"""Updates within which every objective must be due once, if the measurement is to wait for it"""


class Laps:
    """Time of all calls of the trainer's parts, by name.

    Attributes:
        seconds, calls: totals since the last `restart`.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.restart()

    def restart(self) -> tuple[dict[str, float], dict[str, int]]:
        """Set the totals to zero. Returns the old ones."""
        before = self.seconds, self.calls
        names = ("environment", "acting", "replay", "drawing", "update")
        self.seconds, self.calls = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
        return before

    def timed(self, name: str, call: Callable[P, T]) -> Callable[P, T]:
        def measured(*args: P.args, **kwargs: P.kwargs) -> T:
            began = time.perf_counter()
            result = call(*args, **kwargs)
            self.seconds[name] += time.perf_counter() - began
            self.calls[name] += 1
            return result

        return measured

    def timed_each(self, name: str, call: Callable[..., Iterator]) -> Callable[..., Iterator]:
        """The same for what a call yields, without the time in which it is used."""

        def measured(*args: object) -> Iterator:
            following = self.timed(name, partial(next, call(*args), None))
            return iter(following, None)

        return measured

    def watch(self, part: Any) -> Watched:
        """The part, with its calls timed."""
        if isinstance(part, Learner):
            compute = self.timed("acting", part.compute)  # environments too, which are one function with it
            return Watched(part, act=self.timed("acting", part.act), compute=compute, update=self.timed("update", part.update))
        if isinstance(part, Source):
            updates, priorities = self.timed_each("drawing", part.updates), self.timed("drawing", part.priorities)
            return Watched(part, append=self.timed("replay", part.append), updates=updates, priorities=priorities)
        return Watched(part, step=self.timed("environment", part.step))


class Watched:
    """A part, some of whose methods are replaced; everything else is the part's."""

    def __init__(self, part: object, **calls: Callable):
        self._part = part
        vars(self).update(calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


class MeasuredWindow(Signals):
    """The request to stop the training loop: `seconds` after the update at which every objective has been due once, which compiles it.

    Args:
        updates: number of that update.
    """

    def __init__(self, trainer: Trainer, laps: Laps, updates: int, seconds: float):
        super().__init__()
        self.trainer, self.laps, self.updates, self.seconds = trainer, laps, updates, seconds
        self.created = time.perf_counter()
        self.began: tuple[float, int, int, float] | None = None
        """Time, step, update and processor time at the start of the window"""
        self.ended = (0.0, 0, 0, 0.0)
        self.startup: tuple[dict[str, float], dict[str, int]] = {}, {}

    def raise_if_stopped(self) -> None:
        """Called before each tick.

        Raises:
            Stopped: the window is over.
        """
        now = time.perf_counter(), self.trainer.step, self.trainer.agent.updates, time.process_time()
        if self.began is None:
            if now[2] >= self.updates:
                self.began, self.startup = now, self.laps.restart()
        elif now[0] - self.began[0] >= self.seconds and now[2] > self.began[2]:
            self.ended = now
            raise Stopped("measured")


class Trial(Signals):
    """The request to stop an evaluation after `seconds` and at least one step."""

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds, self.created = seconds, time.perf_counter()
        self.ticks: list[float] = []
        """Time before each step"""

    def raise_if_stopped(self) -> None:
        self.ticks.append(time.perf_counter())
        if len(self.ticks) > 1 and self.ticks[-1] - self.created >= self.seconds:
            raise Stopped("measured")


def first_updates(agent: Agent, planned: int = LONGEST_WAIT) -> int:
    """The update at which every objective has been due once; the next one if the run does not come so far.

    Args:
        planned: updates of the run.
    """
    due: set[str] = set()
    for update in range(agent.updates + 1, min(agent.updates + LONGEST_WAIT, planned) + 1):
        due.update(agent.due(update))
        if due >= set(agent.objectives):
            return update
    return agent.updates + 1


def endless(config: Config) -> None:
    """Change the configuration of a trainer in place, because its parts share it: no end, and no evaluations or checkpoints between."""
    config.update(steps=MOST)
    config["evaluation"].update(every=None, video=False)
    config["checkpoint"].update(every=None, minutes=None)
    config["stop"].update({"return": None, "hours": None})


def measure(trainer: Trainer, laps: Laps, seconds: float, folder: Path) -> tuple[Speed, Evaluating]:
    """Train for a few seconds and save, then evaluate for as long. The configuration of the trainer is changed by `endless`.

    Args:
        trainer: new; its parts are watched by `laps`.
        folder: for log lines; a temporary one.
    """
    config, source = trainer.config, trainer.source
    num = config["env"]["num"]
    trainer.standing.step = config["steps"] // 2 // num * num
    # earlier than it waits for learning_starts, once it holds a batch
    source.restart(trainer.step + math.prod(source.batch_shape) + num * source.reach - config["replay"].get("learning_starts", 0))
    planned, (_, first) = planned_updates(config), trainer.agent.first_phase
    trainer.agent.clock.updates = first if first < planned else 0
    endless(config)
    window = MeasuredWindow(trainer, laps, first_updates(trainer.agent, planned), seconds)
    loggers = Logging().open(folder)
    try:
        trainer.run(loggers, Progress(MOST, trainer.step, live=False), window, Watchdog(folder, None, lambda text: None))
        speed = speed_of(window, laps)
        return speed, evaluating(trainer, seconds)
    finally:
        loggers.close()


def speed_of(window: MeasuredWindow, laps: Laps) -> Speed:
    assert window.began is not None
    seconds, steps, updates, busy = (after - before for before, after in zip(window.began, window.ended))
    early, calls = window.startup
    usual = {name: laps.seconds[name] / max(laps.calls[name], 1) for name in laps.seconds}
    compiling = sum(max(early[name] - calls[name] * usual[name], 0.0) for name in ("acting", "update"))
    return Speed(window.began[0] - window.created, compiling, seconds, int(steps), int(updates), **laps.seconds, busy=busy)


def evaluating(trainer: Trainer, seconds: float) -> Evaluating:
    """Evaluate as the trainer does, until the episodes are over or the time is."""
    trial, evaluation = Trial(seconds), trainer.config["evaluation"]
    trainer.signals = trial
    try:
        trainer.evaluate(evaluation["episodes"])
        trial.ticks.append(time.perf_counter())
    except Stopped:
        pass
    tick = (trial.ticks[-1] - trial.ticks[0]) / (len(trial.ticks) - 1)
    return Evaluating(trial.ticks[0] - trial.created, tick, min(evaluation["num"], evaluation["episodes"]))
