"""MLflow, an optional package: a server, or a data base of one's own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from deeprl.running.runs.config_file import Config
from deeprl.running.runs.logger import Logger, LoggerChoice, keep_id, own_id

LONGEST = 6000
"""Letters of a parameter's value that MLflow keeps"""


class MLflowLogger(Logger):
    """A run of MLflow. Its id stays in the run folder, in `mlflow_id`, under which a resumed run goes on."""

    def __init__(self, folder: Path, uri: str | None, experiment: str, resumed: bool):
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        own = own_id(folder, "mlflow_id", resumed)
        if own is None:
            found = self._client.get_experiment_by_name(experiment)
            number = found.experiment_id if found else self._client.create_experiment(experiment)
            own = self._client.create_run(number, run_name=folder.resolve().name).info.run_id
            keep_id(folder, "mlflow_id", own)
        self._client.update_run(own, status="RUNNING")
        self._id, self._state = own, "FINISHED"

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def hparams(self, config: Config, final: dict[str, float] | None) -> None:
        from mlflow.entities import Param

        if final is not None:
            self.scalars(0, final, 0.0)
            return
        known = self._client.get_run(self._id).data.params  # MLflow takes each parameter once
        left = [Param(key, str(value)[:LONGEST]) for key, value in config.items() if key not in known]
        self._client.log_batch(self._id, params=left)

    def ended(self, state: str) -> None:
        self._state = {"stopped": "KILLED", "failed": "FAILED"}.get(state, "FINISHED")

    def close(self) -> None:
        self._client.set_terminated(self._id, self._state)


@dataclass(frozen=True)
class MLflow(LoggerChoice):
    """`logger/also=mlflow`: all metrics and the keys of the configuration, of one run of an experiment.

    Args:
        uri: of the server, or of a data base (sqlite:///runs.db). null: what the variable MLFLOW_TRACKING_URI says, else MLflow's own place
            in the current folder.
    """

    package: ClassVar[str | None] = "mlflow"

    uri: str | None = None
    experiment: str = "deeprl"

    def open(self, folder: Path, resumed: bool) -> Logger:
        return MLflowLogger(folder, self.uri, self.experiment, resumed)
