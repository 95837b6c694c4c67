"""The time of training: seconds of an environment step and of an update, fitted to the runs of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # `scipy.optimize` is imported by its first use

from deeprl.tools.scaling.cells import Cell


@dataclass(frozen=True)
class StepTime:
    """Seconds of an environment step: step + σ (update + sample · B), without the second part before the first update"""

    step: float
    update: float
    sample: float

    @property
    def known(self) -> bool:
        return self.step + self.update + self.sample > 0

    def seconds(self, steps: np.ndarray | float, sigma: np.ndarray | float, batch: np.ndarray | float, starts: float = 0.0) -> np.ndarray:
        """Of a run of `steps` environment steps, of which the first `starts` have no update; shapes as they broadcast."""
        updates = np.asarray(sigma) * np.maximum(np.asarray(steps) - starts, 0.0)
        return np.asarray(steps) * self.step + updates * (self.update + self.sample * np.asarray(batch))


def pace(table: Sequence[Cell]) -> StepTime:
    """Least squares, with no part below 0, over runs whose speed is known. Updates are those that each run had: none before `starts`."""
    rows = [
        ((1.0, each.sigma * share, each.sigma * share * each.batch), seconds)
        for each in table
        for seconds, share in zip(each.pace, np.broadcast_to(each.updating, np.shape(each.pace)))
        if not np.isnan(seconds)
    ]
    if not rows:
        return StepTime(np.nan, np.nan, np.nan)
    columns, seconds = np.array([row for row, _ in rows]), np.array([second for _, second in rows])
    scale = columns.max(0)
    scale[scale == 0] = 1.0  # no run had an update
    return StepTime(*(scipy.optimize.nnls(columns / scale, seconds)[0] / scale).tolist())
