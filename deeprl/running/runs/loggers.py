"""Loggers: `metrics.jsonl`, TensorBoard and, as options, Weights & Biases and what `logger/also` names.

The trainer decides at which steps a line is logged. The clock only gives the time written in a line and the moment of a flush.
"""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from deeprl.choice import Choice
from deeprl.running.runs.config_file import Config, flatten
from deeprl.running.runs.event_file import TensorBoard
from deeprl.running.runs.guarded import Guarded
from deeprl.running.runs.logger import Logger, LoggerChoice
from deeprl.running.runs.wandb import Mode, WandB, log_in
from deeprl.system.files import Appender, full
from deeprl.system.strict_json import plain


class Loggers:
    """All loggers of a run, and its training time, which a resumed run continues.

    On a full disk lines stay in memory until a later flush. Only `flush`, called before a checkpoint, then raises an error.
    """

    def __init__(self, loggers: list[Logger], clock: Callable[[], float] = time.monotonic):
        self.loggers, self._clock = loggers, clock
        self._began = self._flushed = clock()
        self._warned = False

    @property
    def elapsed(self) -> float:
        """Seconds trained, over all starts of the run."""
        return self._clock() - self._began

    def scalars(self, step: int, values: dict[str, Any]) -> None:
        """Log one line, with all metrics of a step. Tensors of one element are read here."""
        numbers = {name: float(value) for name, value in values.items()}
        for logger in self.loggers:
            logger.scalars(step, numbers, self.elapsed)
        if self._clock() > self._flushed + 5.0:  # the clock decides when a line reaches the file, never which line is logged
            try:
                self.flush(durable=False)
            except OSError as error:
                if not full(error):
                    raise
                self._flushed = self._clock()
                if not self._warned:
                    warnings.warn(f"{error.strerror}: log lines wait in memory until there is space again", stacklevel=2)
                self._warned = True

    def text(self, step: int, name: str, text: str) -> None:
        for logger in self.loggers:
            logger.text(step, name, text)

    def animation(self, step: int, name: str, gif: bytes) -> None:
        """A video, as an animated GIF."""
        for logger in self.loggers:
            logger.animation(step, name, gif)

    def hparams(self, config: Config, final: dict[str, float] | None = None, again: bool = False) -> None:
        """Called at the start with the configuration, and at the end with the final metrics too. Nested keys are joined by dots; without
        `_partial_`, which is true or false by the class of a part, and without where else the numbers go.

        Args:
            again: the run goes on from a checkpoint. Loggers elsewhere are told anew, because they may be new, or may have been killed
                before they had passed it on; the files in the folder have it.
        """
        settings = {key: value for key, value in flatten(config) if not (key.endswith("_partial_") or key.startswith("logger.also."))}
        for logger in self.loggers:
            if isinstance(logger, Guarded) or not again:
                logger.hparams(settings, final)

    def flush(self, durable: bool = True) -> None:
        """Write all lines to disk. Called before a checkpoint, because all lines up to its step must then be on disk.

        Raises:
            OSError: the lines could not be written and stay in memory.
        """
        for logger in self.loggers:
            logger.flush(durable)
        self._flushed = self._clock()

    def ended(self, state: str) -> None:
        """Called before `close` with the state of the run (`Logger.ended`)."""
        for logger in self.loggers:
            logger.ended(state)

    def close(self) -> None:
        """An error of one logger costs the others no line; it is raised when all are closed."""
        with contextlib.ExitStack() as stack:
            for logger in self.loggers:
                stack.callback(logger.close)

    def state_dict(self) -> dict[str, float]:
        return {"elapsed": self.elapsed}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._began = self._clock() - float(state["elapsed"])


class JsonLines(Logger):
    """`metrics.jsonl`: {"step": 5000, "time": 12.3, "rollout/ep_rew_mean": 21.4, …}; NaN and Inf, which JSON lacks, are null."""

    def __init__(self, folder: Path):
        self._file = Appender(Path(folder) / "metrics.jsonl")
        self._file.flush()  # the file exists from the start, for `tail -f`

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        self._file.write(json.dumps({"step": step, "time": round(elapsed, 3), **plain(values)}).encode() + b"\n")

    def flush(self, durable: bool) -> None:
        self._file.flush(durable)

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Logging(Choice):
    """`logger` in a configuration: the loggers of a run. JSON lines and TensorBoard are always on."""

    wandb: bool = False
    project: str = "deeprl"
    entity: str | None = None
    mode: Mode = "online"
    also: Mapping[str, LoggerChoice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"logger.mode must be online, offline or disabled, not {self.mode!r}")
        if not isinstance(self.also, Mapping):
            raise ValueError(f"also must be loggers by name, not {self.also!r:.100}")
        for name, each in self.also.items():
            if not isinstance(each, LoggerChoice):
                raise ValueError(f"also.{name} must be a logger, with a `_target_` of one, not {each!r:.100}")

    def log_in(self, goes_on: bool) -> None:
        """Called before a run writes its folder.

        Raises:
            ConfigError: the run begins, and Weights & Biases knows no user.
        """
        if self.wandb and self.mode == "online":
            log_in(goes_on)

    def open(self, folder: Path, purge_step: int | None = None) -> Loggers:
        """Open the loggers. `purge_step` is that of `TensorBoard`, or None for a new run. Call `RunFolder.truncate_after` before."""
        resumed = purge_step is not None
        loggers: list[Logger] = []
        if self.wandb:  # first, because it may fail, and files of the other loggers would then remain
            run = WandB(folder, self.project, self.entity, self.mode, resumed)
            loggers.append(Guarded("wandb", run.begun))
        others = [Guarded(name, partial(each.open, folder, resumed)) for name, each in self.also.items() if each.enabled]
        return Loggers([*loggers, *others, JsonLines(folder), TensorBoard(folder, purge_step)])
