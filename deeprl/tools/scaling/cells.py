"""Runs of a grid over the replay ratio, the batch size, the learning rate and the seed, as a table of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from deeprl.errors import ConfigError
from deeprl.running.config.rules import get
from deeprl.tools.report.groups import important, settings
from deeprl.tools.report.runs import RunRecord, number, short
from deeprl.tools.scaling.fits import falling, reached

RATIO, BATCH, STARTS = "replay.ratio", "replay.batch_size", "replay.learning_starts"
FALLS = 0.15
"""A mean curve that falls by more than this share of its range is named"""
SEEDS = 3
"""Fewer seeds of a cell are named"""
NAMED = 3
"""So many runs or cells are named in a sentence, the others counted"""
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
    starts: float = 0.0
    """Environment steps before the first update"""
    updating: np.ndarray | float = 1.0
    """(seeds,) share of the steps of each run that come after `starts`"""
    short: str = ""
    """Name of the unfinished run at whose last evaluation the cell ends; "" where none ends it"""

    @property
    def name(self) -> str:
        return f"ratio {self.sigma:g}, batch {self.batch:g}, rate {self.rate:g}"

    def data(self, threshold: float) -> float:
        """Environment steps of the mean curve to a return; NaN: never."""
        return reached(self.steps, self.returns.mean(0), threshold)

    def early(self, data: float) -> bool:
        """Whether so many steps end at the first evaluation or before the first update, so that they do not tell what learning takes."""
        return bool(data <= max(float(self.steps[0]), self.starts))

    def learns(self, threshold: float) -> bool:
        """Whether the mean curve has a return, and not `early`."""
        data = self.data(threshold)
        return bool(np.isfinite(data)) and not self.early(data)


def cells(runs: Sequence[RunRecord], rate: str, note: Note) -> tuple[list[Cell], list[str]]:
    """The table, and the keys that go with the rate.

    Args:
        rate: key of the learning rate. Another key whose value is the rate in every run goes with it.
        note: takes a sentence about runs that are left out, or that look odd.

    Raises:
        ConfigError: runs of several tasks; a key of the grid that no run has; a further key that differs.
    """
    left = [run for run in runs if len(run.curve.step)]
    if empty := [run.name for run in runs if not len(run.curve.step)]:
        note(f"{count(empty, 'run has', 'runs have')} no evaluation and {'is' if len(empty) == 1 else 'are'} left out: {listed(empty)}")
    if not left:
        raise ConfigError("no run has an evaluation yet.")
    if len(tasks := sorted({run.task for run in left})) > 1:
        raise ConfigError(f"runs of {', '.join(tasks)}: one task at a time, because returns of tasks have no common threshold.")
    tied = require_grid(left, rate)[rate]
    found: dict[tuple[float, float, float], list[RunRecord]] = {}
    for run in left:
        sigma, batch, lr = (float(get(run.config, key)) for key in (RATIO, BATCH, rate))
        found.setdefault((sigma, batch, lr), []).append(run)
    for runs_of_cell in found.values():
        require_seeds(runs_of_cell)
    counted = {place: together(each) for place, each in sorted(found.items())}
    note_unfinished(left, {id(run) for each in counted.values() for run in each}, note)
    table = [cell_of(place, each) for place, each in counted.items()]
    if uneven := [each.name for each, those in zip(table, counted.values()) if len({int(run.curve.step[-1]) for run in those}) > 1]:
        note(f"seeds of a cell end at different steps, and what all of them have counts: {listed(uneven)}")
    if apart := [each.name for each in table if not len(each.steps)]:
        note(f"the seeds of a cell have no evaluation at a common step, and the cell is left out: {listed(apart)}")
    table = [each for each in table if len(each.steps)]
    if not table:
        raise ConfigError("no cell has seeds with an evaluation at a common step. Give folders of runs with equal evaluation.every.")
    if len(ends := {int(each.steps[-1]) for each in table}) > 1:
        note(f"cells end at different steps, {min(ends):,} to {max(ends):,}: what a short one has not reached counts as not reached")
    if fallen := [share for each in table if (share := falling(each.returns.mean(0))) > FALLS]:
        note(
            f"{len(fallen)} of {len(table)} mean curves fall, by up to {max(fallen):.0%} of their range; the step that reaches a return is "
            "that of their monotone form"
        )
    if len(machines := {run.machines[-1].hardware for run in left if run.machines}) > 1:
        note(f"the runs were computed on {len(machines)} kinds of machine: their hours do not compare")
    if few := sum(len(each.returns) < SEEDS for each in table):
        note(f"{few} of {len(table)} cells have fewer than {SEEDS} seeds: intervals over them are too narrow")
    return table, tied


def require_grid(runs: Sequence[RunRecord], rate: str, size: str | None = None) -> dict[str, list[str]]:
    """For the key of the rate, and for that of the size of networks, the keys whose value is its own in every run, if it has several.

    Raises:
        ConfigError: see `cells`.
    """
    leaves = [important(settings(run)) for run in runs]
    for key in (RATIO, BATCH, rate):
        for run in runs:
            if not number(value := get(run.config, key)) or not value > 0:
                hint = " Name the key of the learning rate with --rate KEY." if key == rate else ""
                raise ConfigError(f"{key}: {run.name} has {short(value)} there, which is no number above 0.{hint}")
    tied: dict[str, list[str]] = {key: [] for key in (rate, size) if key}
    for key in sorted({key for each in leaves for key in each} - times_of_flat(leaves)):
        values = [each.get(key) for each in leaves]
        if len({*values}) == 1 or key in (RATIO, BATCH, *tied):
            continue
        for axis, those in tied.items():
            if all(value == each.get(axis) for value, each in zip(values, leaves)):
                those.append(key)
                break
        else:
            shown = ", ".join(sorted({str(value) for value in values})[:4])
            may = f"only {', '.join((RATIO, BATCH, *tied))} and the seed may"
            hint = "" if size else f", or name it with --size {key} if it is the size of networks"
            raise ConfigError(f"{key} differs between the runs ({shown}): {may}. Give the folders of runs that are equal in it{hint}.")
    return tied


def times_of_flat(leaves: Sequence[dict[str, str]]) -> set[str]:
    """Keys of the times of schedules that end where they start, in every run: a share of `steps`, they differ between a short and a long
    run, and change nothing."""
    starts = [key.removesuffix("start") for key in leaves[0] if key.endswith(".start")]
    flat = [each for each in starts if all(f"{each}start" in run and run[f"{each}start"] == run.get(f"{each}end") for run in leaves)]
    return {each + time for each in flat for time in ("begin", "duration")}


def require_seeds(runs: Sequence[RunRecord]) -> None:
    if len({run.seed for run in runs}) < len(runs):
        raise ConfigError(f"{', '.join(run.name for run in runs)}: a seed stands twice among equal runs. Give the folder of one of them.")


def together(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs of a cell that count. An unfinished one is left out where the others have more evaluated steps in all without it, because
    a cell ends where the first of its runs does: one that failed at its start would cut the cell to nothing."""
    order = sorted(runs, key=lambda run: (run.state == "finished", run.curve.step[-1]), reverse=True)
    least = max(sum(run.state == "finished" for run in runs), 1)
    sizes = range(least, len(order) + 1)
    best = max(sizes, key=lambda size: (size * max(common_steps(order[:size]), default=0), size))
    kept = {id(run) for run in order[:best]}
    return [run for run in runs if id(run) in kept]


def common_steps(runs: Sequence[RunRecord]) -> list[int]:
    """Steps at which all runs have an evaluation, in rising order."""
    return sorted(set.intersection(*({*run.curve.step.tolist()} for run in runs)))


def cell_of(place: tuple[float, float, float], runs: Sequence[RunRecord]) -> Cell:
    common = np.array(common_steps(runs))
    returns = np.stack([run.curve.reward[np.isin(run.curve.step, common)] for run in runs])
    pace = np.array([run.curve.seconds[-1] / run.curve.step[-1] if run.curve.step[-1] else np.nan for run in runs])
    starts = float(get(runs[0].config, STARTS, 0) or 0)
    updating = np.array([max(1 - starts / run.curve.step[-1], 0.0) if run.curve.step[-1] else 0.0 for run in runs])
    first = min(runs, key=lambda run: run.curve.step[-1])
    return Cell(*place, common, returns, pace, starts, updating, "" if first.state == "finished" else first.name)


def note_unfinished(runs: Sequence[RunRecord], counted: set[int], note: Note) -> None:
    """A sentence on unfinished runs that count, and one on those that are left out.

    Args:
        counted: `id` of the runs that count.
    """
    unfinished = [run for run in runs if run.state != "finished"]
    kept, out = ([state_of(run) for run in unfinished if (id(run) in counted) == side] for side in (True, False))
    if kept:
        verbs = ("is", "counts") if len(kept) == 1 else ("are", "count")
        note(f"{count(kept, 'run', 'runs')} {verbs[0]} not finished and {verbs[1]} as far as evaluated: {listed(kept)}")
    if out:
        note(f"{count(out, 'unfinished run is', 'unfinished runs are')} left out, because other seeds go further: {listed(out)}")


def state_of(run: RunRecord) -> str:
    return f"{run.name} ({run.state} at step {run.step:,}{run.remark and f': {run.remark}'})"


def count(those: Sequence[str], one: str, many: str) -> str:
    return f"{len(those)} {one if len(those) == 1 else many}"


def listed(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + rest
