"""Loggers: `metrics.jsonl`, TensorBoard and, as an option, Weights & Biases.

The trainer decides at which steps a line is logged. The clock only gives the time written in a line and the moment of a flush.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from deeprl.choice import Choice
from deeprl.errors import RunFolderError
from deeprl.running.runs.config_file import Config, flatten
from deeprl.running.runs.event_file import TensorBoard
from deeprl.system.files import Appender, full, own_folder, plain, read_regular, replace_file
from deeprl.system.machine import extra

Mode = Literal["online", "offline", "disabled"]
"""Of Weights & Biases"""


class Logger(Protocol):
    """A destination of log lines. A subclass inherits the empty methods that it does not need."""

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None: ...

    def text(self, step: int, name: str, text: str) -> None:
        return

    def animation(self, step: int, name: str, gif: bytes) -> None:
        return

    def hparams(self, config: Config, final: dict[str, float] | None) -> None:
        return

    def flush(self, durable: bool) -> None:
        return

    def close(self) -> None: ...


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

    def hparams(self, config: Config, final: dict[str, float] | None = None) -> None:
        """Called at the start with the configuration, and at the end with the final metrics too. Nested keys are joined by dots; without
        `_partial_`, which is true or false by the class of a part."""
        settings = {key: value for key, value in flatten(config) if not key.endswith("_partial_")}
        for logger in self.loggers:
            logger.hparams(settings, final)

    def flush(self, durable: bool = True) -> None:
        """Write all lines to disk. Called before a checkpoint, because all lines up to its step must then be on disk.

        Raises:
            OSError: the lines could not be written and stay in memory.
        """
        for logger in self.loggers:
            logger.flush(durable)
        self._flushed = self._clock()

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


class WandB(Logger):
    """Weights & Biases, an optional package. The id of a run there is drawn when it starts and stays in its folder, in `wandb_id`, because
    folders of different runs may have one name. A resumed run continues under it; older runs without the file have their folder's name."""

    def __init__(self, folder: Path, project: str, entity: str | None = None, mode: Mode = "online", resume: bool = False):
        try:
            import wandb
        except ImportError:
            raise RuntimeError(f"logger=wandb needs the package wandb: {extra('wandb')}; or leave logger=wandb out") from None
        name, file = Path(folder).resolve().name, Path(folder) / "wandb_id"
        if not resume or not (file.exists() or (Path(folder) / "wandb").exists()):  # a run may switch it on when it goes on
            replace_file(file, f"{re.sub(r'[^A-Za-z0-9_.=,-]', '_', name)[-80:]}-{secrets.token_hex(4)}\n")
        own = read_regular(file, 200).decode().strip() if file.exists() else name
        if "/" in own or not own.isprintable():
            raise RunFolderError(f"{file} holds {own!r:.100}, which is no id of a run; remove it to go on")
        try:
            for place in ("wandb", ".wandb"):
                own_folder(Path(folder) / place)
        except OSError as error:
            raise RunFolderError(f"{error.filename}: {error.strerror}; remove it to go on") from None
        home = str(Path(folder).absolute())
        # the current folder may be a stranger's: its wandb/settings name a server, and its .git/config programs that git starts
        with contextlib.chdir(Path(__file__).parent):
            wandb.setup()
        git = {"disable_git": True}  # system.json has the commit of deeprl
        again: Any = "allow" if resume else None
        self._run = wandb.init(project=project, entity=entity, mode=mode, dir=home, id=own, name=name, resume=again, settings=git)

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        self._run.log(dict(values), step=step)

    def text(self, step: int, name: str, text: str) -> None:
        self._run.config.update({name: text}, allow_val_change=True)

    def hparams(self, config: Config, final: dict[str, float] | None) -> None:
        self._run.config.update(config, allow_val_change=True)
        self._run.summary.update(final or {})

    def close(self) -> None:
        self._run.finish()


@dataclass(frozen=True)
class Logging(Choice):
    """`logger` in a configuration: the loggers of a run. JSON lines and TensorBoard are always on."""

    wandb: bool = False
    project: str = "deeprl"
    entity: str | None = None
    mode: Mode = "online"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"logger.mode must be online, offline or disabled, not {self.mode!r}")

    def open(self, folder: Path, purge_step: int | None = None) -> Loggers:
        """Open the loggers. `purge_step` is that of `TensorBoard`, or None for a new run. Call `RunFolder.truncate_after` before."""
        loggers: list[Logger] = []
        if self.wandb:  # first, because it may fail, and files of the other loggers would then remain
            loggers.append(WandB(folder, self.project, self.entity, self.mode, resume=purge_step is not None))
        return Loggers([*loggers, JsonLines(folder), TensorBoard(folder, purge_step)])
