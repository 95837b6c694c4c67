"""Where numbers go: `metrics.jsonl`, TensorBoard and, if asked, Weights & Biases.

What is logged when is the trainer's affair and depends on steps; nothing here looks at the clock except to write the time down.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deeprl.choice import Choice
from deeprl.runs.event_file import EventFile
from deeprl.system.files import Appender, full, plain
from deeprl.system.progress import Progress

__all__ = ["JsonLines", "Loggers", "Logging", "Progress", "TensorBoard", "WandB", "flatten"]


class Logger(Protocol):
    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None: ...
    def text(self, step: int, name: str, text: str) -> None: ...
    def hparams(self, config: dict[str, Any], final: dict[str, float] | None) -> None: ...
    def flush(self, durable: bool) -> None: ...
    def close(self) -> None: ...


class Loggers:
    """Hands everything to each logger, and keeps the time trained, which goes on where a resumed run stopped.

    On a full disk what is logged waits in memory; only a checkpoint cannot be written without it.
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
        """One line: call it once a step, with everything there is to say. Tensors of one element are read here."""
        numbers = {name: float(value) for name, value in values.items()}
        for logger in self.loggers:
            logger.scalars(step, numbers, self.elapsed)
        if self._clock() > self._flushed + 5.0:  # for those who watch; what is written does not depend on it
            try:
                self._flush(durable=False)
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

    def hparams(self, config: dict[str, Any], final: dict[str, float] | None = None) -> None:
        """Call at the start with the configuration, and at the end with the final metrics too. Nested keys are flattened."""
        for logger in self.loggers:
            logger.hparams(flatten(config), final)

    def flush(self) -> None:
        """Before a checkpoint: what is logged up to its step must be on disk when it is.

        Raises:
            OSError: it cannot be; everything waits for the next flush.
        """
        self._flush(durable=True)

    def close(self) -> None:
        for logger in self.loggers:
            logger.close()

    def state_dict(self) -> dict[str, float]:
        return {"elapsed": self.elapsed}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._began = self._clock() - float(state["elapsed"])

    def _flush(self, durable: bool) -> None:
        for logger in self.loggers:
            logger.flush(durable)
        self._flushed = self._clock()


class JsonLines:
    """`metrics.jsonl`: {"step": 5000, "time": 12.3, "rollout/ep_rew_mean": 21.4, …}; NaN and Inf, which JSON lacks, are null."""

    def __init__(self, folder: Path):
        self._file = Appender(Path(folder) / "metrics.jsonl")
        self._file.flush()  # there from the start, for those who watch

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        self._file.write(json.dumps({"step": step, "time": round(elapsed, 3), **plain(values)}).encode() + b"\n")

    def text(self, step: int, name: str, text: str) -> None:
        pass

    def hparams(self, config: dict[str, Any], final: dict[str, float] | None) -> None:
        pass

    def flush(self, durable: bool) -> None:
        self._file.flush(durable)

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars, text pages, and hyper-parameters with final metrics for the HPARAMS page.

    Args:
        folder: the run folder.
        purge_step: hide what earlier event files say of this step and later ones: the checkpoint's step + 1 when resuming.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        self._events = EventFile(Path(folder), purge_step)

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        self._events.scalars(step, values)

    def text(self, step: int, name: str, text: str) -> None:
        self._events.text(step, name, text)

    def hparams(self, config: dict[str, Any], final: dict[str, float] | None) -> None:
        self._events.session(config, final)

    def flush(self, durable: bool) -> None:
        self._events.flush()

    def close(self) -> None:
        self._events.close()


class WandB:
    """Weights & Biases, an extra. A resumed run goes on under the same id, the run folder's name."""

    def __init__(self, folder: Path, project: str, entity: str | None = None, mode: str = "online", resume: bool = False):
        try:
            import wandb
        except ImportError:
            raise RuntimeError("logger=wandb needs the package wandb: pip install 'deeprl[wandb]', or leave logger=wandb out") from None
        name = Path(folder).resolve().name
        self._run = wandb.init(
            project=project, entity=entity, mode=mode, dir=str(folder), id=name, name=name, resume="allow" if resume else None
        )

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        self._run.log(dict(values), step=step)

    def text(self, step: int, name: str, text: str) -> None:
        self._run.config.update({name: text}, allow_val_change=True)

    def hparams(self, config: dict[str, Any], final: dict[str, float] | None) -> None:
        self._run.config.update(config, allow_val_change=True)
        self._run.summary.update(final or {})

    def flush(self, durable: bool) -> None:
        pass

    def close(self) -> None:
        self._run.finish()


@dataclass(frozen=True)
class Logging(Choice):
    """`logger` in a configuration: which loggers a run opens. JSON lines and TensorBoard are always on."""

    wandb: bool = False
    project: str = "deeprl"
    entity: str | None = None
    mode: str = "online"

    def __post_init__(self) -> None:
        if self.mode not in ("online", "offline", "disabled"):
            raise ValueError(f"logger.mode must be online, offline or disabled, not {self.mode!r}")

    def open(self, folder: Path, purge_step: int | None = None) -> Loggers:
        """`purge_step`: the checkpoint's step + 1 when resuming; `RunFolder.cut_after` is called before."""
        loggers: list[Logger] = []
        if self.wandb:  # first, since it is the one that may fail
            loggers.append(WandB(folder, self.project, self.entity, self.mode, resume=purge_step is not None))
        return Loggers([*loggers, JsonLines(folder), TensorBoard(folder, purge_step)])


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"env": {"num": 4}} as {"env.num": 4}; lists stay what they are."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
