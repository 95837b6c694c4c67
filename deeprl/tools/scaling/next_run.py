"""The settings of the next run: those of a law, or, where no law can be extrapolated, those of a cell of the grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from deeprl.system.strict_json import JsonObject
from deeprl.tools.scaling.returns import untrained
from deeprl.tools.scaling.study import Level, Study, at, proposed

UNKNOWN = [float("nan"), float("nan")]


@dataclass(frozen=True)
class NextRun:
    """Settings of a run, the return that it reaches, and what it takes."""

    threshold: float
    ratio: float
    batch_size: float
    rate: float
    steps: float
    hours: float
    intervals: dict[str, list[float]]
    """The ends of all but the first, of 95 % over the samples: steps and hours are those of a run with these very settings, "ratio" is that
    of the fewest hours, NaN where that is the end of the range of ratios that is searched"""
    observed: bool
    """Whether it is a cell of the grid, which has no intervals"""
    remark: str
    """A sentence on a ratio beyond the grid, or on an observed cell; "" otherwise"""

    def json(self) -> JsonObject:
        values = asdict(self)
        return {"return": values.pop("threshold"), **values}


def next_run(found: Study, hours: float | None) -> NextRun | None:
    """Settings for the highest return that is reached within `hours`; None: without a limit. Where no law names any, those of the cell of
    the grid that was the fastest. None if no return is that cheap, or no run told its speed."""
    if not found.pace.known:
        return None
    for level in sorted(found.levels, key=lambda each: -each.threshold):
        if level.law is None or level.doubt:
            continue
        sigma, cost = found.best_ratio(level)
        if cost <= (np.inf if hours is None else hours):  # NaN: no hours are known
            return predicted(found, level, sigma, cost)
    return observed(found, hours)


def predicted(found: Study, level: Level, sigma: float, hours: float) -> NextRun:
    batch = float(proposed(found.batch, sigma))
    asked: dict[str, Callable[[Study, Level], np.ndarray | float]] = {
        "batch_size": lambda drawn, it: proposed(drawn.batch, sigma),
        "rate": lambda drawn, it: at(drawn.rate, sigma),
        "steps": lambda drawn, it: drawn.data(it, sigma),
        "hours": lambda drawn, it: found.pace.seconds(drawn.data(it, sigma), sigma, batch, found.starts) / 3600,
    }
    rate, steps = float(at(found.rate, sigma)), float(found.data(level, sigma))
    intervals = {"ratio": found.ratio_interval(level).tolist()} | {name: found.interval(level, of).tolist() for name, of in asked.items()}
    return NextRun(level.threshold, sigma, batch, rate, steps, hours, intervals, observed=False, remark=beyond(found, level, sigma))


def beyond(found: Study, level: Level, sigma: float) -> str:
    """A sentence on a ratio that the grid does not hold between its smallest and its largest; "" for one that it does."""
    low, high = level.sigma.min(), level.sigma.max()
    if low <= sigma <= high or np.isclose(sigma, (low, high)).any():
        return ""
    said = f"The ratio of {sigma:.3g} lies beyond the grid ({low:g} to {high:g}): its steps are an extrapolation"
    if not found.at_end(level):
        return said
    return f"{said}, and the cheapest ratio may lie further, because laws are asked up to this one. A few runs there test it first"


def observed(found: Study, hours: float | None) -> NextRun | None:
    """The cell of the grid with the highest return within `hours`, and of those with that return the one of the fewest hours."""
    low = untrained(found.table)
    for level in sorted((each for each in found.levels if each.threshold > low), key=lambda each: -each.threshold):
        pairs = [(cell, cell.data(level.threshold)) for cell in found.table if cell.learns(level.threshold)]
        if not pairs:
            continue
        costs = [float(found.pace.seconds(steps, cell.sigma, cell.batch, found.starts)) / 3600 for cell, steps in pairs]
        place = int(np.argmin(costs))
        if hours is None or costs[place] <= hours:
            cell, steps = pairs[place]
            remark = "Observed: the cell of the grid that reached it in the least time. No law that can be extrapolated names a run"
            intervals = dict.fromkeys(("ratio", "batch_size", "rate", "steps", "hours"), UNKNOWN)
            return NextRun(level.threshold, cell.sigma, cell.batch, cell.rate, steps, costs[place], intervals, True, remark)
    return None
