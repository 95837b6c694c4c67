"""Trackio, an optional package: its data base is on this machine, or in a Space of Hugging Face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from deeprl.running.runs.config_file import Config
from deeprl.running.runs.logger import Logger, LoggerChoice, keep_id, new_id, own_id


class TrackioLogger(Logger):
    """A run of Trackio. Its name stays in the run folder, in `trackio_id`, under which a resumed run goes on."""

    def __init__(self, folder: Path, project: str, space: str | None, resumed: bool):
        self._name = own_id(folder, "trackio_id", resumed) or new_id(folder)
        keep_id(folder, "trackio_id", self._name)
        self._project, self._space = project, space
        self._run: Any = None

    def _opened(self, config: Config | None = None) -> Any:
        if self._run is None:  # Trackio takes the configuration where a run is opened
            import trackio

            self._run = trackio.init(
                self._project, self._name, space_id=self._space, config=config, resume="allow", embed=False, auto_log_gpu=False,
                auto_log_cpu=False,
            )  # fmt: skip
        return self._run

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        self._opened().log(dict(values), step)

    def hparams(self, config: Config, final: dict[str, float] | None) -> None:
        run = self._opened(config)
        if final:
            run.log(dict(final))

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


@dataclass(frozen=True)
class Trackio(LoggerChoice):
    """`logger/also=trackio`: all metrics and the keys of the configuration; `trackio show` draws them.

    Args:
        space: a Space of Hugging Face; null: what the variable TRACKIO_SPACE_ID says, else this machine.
    """

    package: ClassVar[str | None] = "trackio"

    project: str = "deeprl"
    space: str | None = None

    def open(self, folder: Path, resumed: bool) -> Logger:
        return TrackioLogger(folder, self.project, self.space, resumed)
