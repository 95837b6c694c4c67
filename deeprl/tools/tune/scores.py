"""From the evaluations of a trial's runs to what its pruner sees and what it is worth. All functions are pure but `read`.

The pruner gets one value for each evaluation. Seeds that train side by side make a wave. With runs of T steps, the value at position
w T + s is the mean evaluation at step s over the seeds of the waves 0 to w. It does not depend on which run was faster, and trials are
compared after the same evaluations of as many seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

from deeprl.errors import RunFolderError
from deeprl.running.runs.folder import RunFolder


class Grid(NamedTuple):
    """When the runs of a study are evaluated."""

    steps: int
    every: int | None

    def positions(self) -> list[int]:
        """Steps of the evaluations. Environments side by side may pass a step by a few."""
        return [*range(self.every or self.steps, self.steps, self.every or self.steps), self.steps]

    def position(self, step: int) -> int:
        return self.steps if step >= self.steps or self.every is None else step // self.every * self.every


class Evaluations(NamedTuple):
    """The evaluations of one run so far."""

    means: dict[int, float]
    """Position -> mean return, in the order of positions. A run that meets `stop.return` has two at its last one, of which this is the
    second, its final evaluation."""
    finished: bool
    first: Mapping[int, float] = MappingProxyType({})
    """Those that were followed at their position by another one"""

    def at(self, position: int) -> float | None:
        """The mean return at a position. A run that finished early keeps its last one. None: the run has not got there."""
        if not self.means or (position > max(self.means) and not self.finished):
            return None
        return next((self.means[each] for each in sorted(self.means, reverse=True) if each <= position), None)

    def reported(self, position: int) -> float | None:
        """As `at`, and at a position with two evaluations the first, because a look at the run may come before or after the second."""
        return self.first.get(position, self.at(position))


def read(run: Path, grid: Grid) -> Evaluations:
    """The evaluations in a run folder, which need not exist.

    Raises:
        RunFolderError: a file of it is damaged.
    """
    folder = RunFolder(run)
    status = folder.read_status()
    finished = status is not None and status["state"] == "finished"  # read first, because evaluations are written before it
    means, first = dict[int, float](), dict[int, float]()
    try:
        for line in folder.read_evaluations():
            position, mean = grid.position(line["step"]), fmean(line["returns"])
            if position in means:
                first.setdefault(position, means[position])
            means[position] = mean
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{run / 'evaluations.jsonl'} is damaged: {error}") from error
    if finished and not means:
        raise RunFolderError(f"{run} is finished, but {run / 'evaluations.jsonl'} holds no evaluation")
    return Evaluations(means, finished, first)


def reports(curves: Sequence[Evaluations], together: int, grid: Grid) -> Iterator[tuple[int, float]]:
    """What the pruner sees of a trial so far: position and value, in order.

    Args:
        curves: one a seed.
        together: seeds of a wave.
    """
    for wave, end in enumerate(range(together, len(curves) + together, together)):
        for position in grid.positions():
            values = [curve.reported(position) for curve in curves[:end]]
            known = [value for value in values if value is not None]
            if len(known) < len(values):
                return
            yield wave * grid.steps + position, fmean(known)


def score(curve: Evaluations, last: int, grid: Grid) -> float:
    """Mean of the last evaluations of a finished run. One that met `stop.return` keeps its last evaluation for those that it saved."""
    found = [curve.at(position) for position in grid.positions()[-last:]]
    return fmean([value for value in found if value is not None])
