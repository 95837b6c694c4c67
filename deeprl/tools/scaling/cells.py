"""Runs of a grid over the replay ratio, the batch size, the learning rate and the seed, as a table of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from deeprl.errors import ConfigError
from deeprl.running.config.rules import get
from deeprl.tools.report.groups import important, settings
from deeprl.tools.report.runs import RunRecord
from deeprl.tools.scaling.fits import falling

RATIO, BATCH = "replay.ratio", "replay.batch_size"
FALLS = 0.15
"""A mean curve that falls by more than this share of its range is named"""
Note = Callable[[str], object]


class Cell(NamedTuple):
    """Runs that differ in the seed alone."""

    sigma: float
    """Updates an environment step"""
    batch: float
    rate: float
    steps: np.ndarray
    """(E,) of evaluations that all seeds have"""
    returns: np.ndarray
    """(seeds, E)"""
    pace: np.ndarray
    """(seeds,) seconds an environment step; NaN where unknown"""

    @property
    def name(self) -> str:
        return f"ratio {self.sigma:g}, batch {self.batch:g}, rate {self.rate:g}"


def cells(runs: Sequence[RunRecord], rate: str, note: Note) -> list[Cell]:
    """
    Args:
        rate: key of the learning rate. Another key whose value is the rate in every run goes with it.
        note: takes a sentence about runs that are left out, or that look odd.

    Raises:
        ConfigError: runs of several tasks; a key of the grid that no run has; a further key that differs.
    """
    left = [run for run in runs if len(run.curve.step)]
    for run in runs:
        if run.state == "failed":
            note(f"{run.name} failed at step {run.step:,}: {run.remark}")
        if not len(run.curve.step):
            note(f"{run.name} has no evaluation and is left out")
    if not left:
        raise ConfigError("no run has an evaluation yet.")
    if len(tasks := sorted({run.task for run in left})) > 1:
        raise ConfigError(f"runs of {', '.join(tasks)}: one task at a time, because returns of tasks have no common threshold.")
    require_grid(left, rate)
    found: dict[tuple[float, float, float], list[RunRecord]] = {}
    for run in left:
        sigma, batch, lr = (float(get(run.config, key)) for key in (RATIO, BATCH, rate))
        found.setdefault((sigma, batch, lr), []).append(run)
    table = [cell_of(place, each, note) for place, each in sorted(found.items())]
    return [each for each in table if len(each.steps)]


def require_grid(runs: Sequence[RunRecord], rate: str) -> None:
    """
    Raises:
        ConfigError: see `cells`.
    """
    leaves = [important(settings(run)) for run in runs]
    for key in (RATIO, BATCH, rate):
        if any(type(get(run.config, key)) not in (int, float) for run in runs):
            raise ConfigError(f"{key}: not every run has a number there. Name the key of the learning rate with --rate KEY.")
    for key in sorted({key for each in leaves for key in each}):
        values = [each.get(key) for each in leaves]
        tied = all(value == each.get(rate) for value, each in zip(values, leaves))
        if len({*values}) > 1 and key not in (RATIO, BATCH, rate) and not tied:
            shown = ", ".join(sorted({str(value) for value in values})[:4])
            may = f"only {RATIO}, {BATCH}, {rate} and the seed may"
            raise ConfigError(f"{key} differs between the runs ({shown}): {may}. Give the folders of runs that are equal in it.")


def cell_of(place: tuple[float, float, float], runs: Sequence[RunRecord], note: Note) -> Cell:
    common = np.array(sorted(set.intersection(*({*run.curve.step.tolist()} for run in runs))))
    returns = np.stack([run.curve.reward[np.isin(run.curve.step, common)] for run in runs])
    pace = np.array([run.seconds / run.step if run.step else np.nan for run in runs])
    found = Cell(*place, common, returns, pace)
    if not len(common):
        note(f"{found.name}: its seeds have no evaluation at a common step, and are left out")
    elif (share := falling(returns.mean(0))) > FALLS:
        note(f"{found.name}: its mean curve falls by {share:.0%} of its range; the step that reaches a return is that of its monotone form")
    if len({run.curve.step[-1] for run in runs}) > 1:
        note(f"{found.name}: its seeds end at different steps; what all have counts")
    return found
