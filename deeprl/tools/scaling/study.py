"""From a table of cells to laws and their intervals.

What the paper leaves open is chosen so: best rates and batch sizes are averaged geometrically over the other axis and over bootstrap
samples of the seeds; the data that a replay ratio needs are those of the cell nearest to the laws of (1) and (2), not the least of all
cells, which would be the luckiest; cost is measured in hours of the machine that trained. Intervals are those of the whole study: each
bootstrap sample of the seeds has best settings, nearest cells and laws of its own. The speed of the machine is the same in all samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from deeprl.tools.scaling.cells import Cell
from deeprl.tools.scaling.fits import DataLaw, PowerLaw, cheapest, data_law, power_law, reached
from deeprl.tools.scaling.returns import NeverReachedError, middle, spread, untrained
from deeprl.tools.scaling.speed import StepTime, pace

DRAWS = 100
"""Bootstrap samples of the seeds, as in the paper"""
MISSES = 0.15
"""Relative error of a law on its own points, from which it is not extrapolated"""
FAR = 0.3
"""Relative error at the largest ratio of a law without it, from which it is named"""
BEYOND = 4.0
"""How far past the largest and the smallest ratio of the grid a law is asked"""
NEAR = 0.5
"""Share of the fewest observed steps after the first update, below which a law is not asked for hours: one without a floor falls to the
first update and below, where updates would cost nothing"""
MULTIPLE = 16
"""Batch sizes that are proposed are multiples of it"""


@dataclass(frozen=True)
class BestValue:
    """The best value of one setting at every ratio, and its law."""

    name: str
    sigma: np.ndarray
    best: np.ndarray
    law: PowerLaw | None
    """None with fewer than two ratios"""
    low: float
    high: float
    """Interval of 95 % of the slope, over bootstrap samples"""


@dataclass(frozen=True)
class Level:
    """What a return J costs at every ratio."""

    threshold: float
    sigma: np.ndarray
    data: np.ndarray
    """Environment steps; NaN: never reached"""
    batch: np.ndarray
    """Batch size of the cell that is counted"""
    law: DataLaw | None
    left_out: float
    """Relative error at the largest ratio of the law that is fitted without it; NaN with fewer than three, or where it is not reached"""
    censored: np.ndarray
    """(ratios,) bool: reached at the first evaluation or before the first update, or no higher than the level of the first evaluations. How
    many steps learning takes is not known there, so the law is of the other ratios"""

    @property
    def known(self) -> np.ndarray:
        """(ratios,) bool: points of the law."""
        return ~np.isnan(self.data) & ~self.censored

    @property
    def doubt(self) -> str:
        """Why its law is not extrapolated; "" if nothing speaks against it."""
        if self.law is None:
            return f"it is reached {'by learning ' if self.censored.any() else ''}at fewer than two ratios"
        if self.law.error > MISSES:
            return f"its law misses the data by {self.law.error:.0%} (up to {MISSES:.0%} is extrapolated): more updates may take more data"
        return ""


@dataclass(frozen=True)
class Study:
    """Laws of one grid: best settings at every ratio, what each return costs, and the speed that turns steps into hours."""

    batch: BestValue
    rate: BestValue
    levels: list[Level]
    pace: StepTime
    notes: list[str] = field(default_factory=list)
    samples: list[Study] = field(default_factory=list)
    """The study of each bootstrap sample of the seeds in which some cell reaches the return of the best settings; empty with one seed"""
    table: Sequence[Cell] = ()
    """Cells that it is of"""
    starts: float = 0.0
    """Environment steps before the first update"""

    def data(self, level: Level, sigma: np.ndarray | float) -> np.ndarray:
        """Environment steps to the return of a level, as its law predicts; NaN without a law."""
        return level.law(sigma) if level.law else np.full_like(np.asarray(sigma, float), np.nan)

    def cost(self, level: Level, sigma: np.ndarray | float) -> np.ndarray:
        """Hours to the return of a level, as its laws predict; NaN without a law, and where it comes too near to the first update."""
        steps = self.data(level, sigma)
        hours = self.pace.seconds(steps, sigma, proposed(self.batch, sigma), self.starts) / 3600
        if not self.starts or not level.known.any():
            return hours
        return np.where(steps - self.starts >= NEAR * (level.data[level.known].min() - self.starts), hours, np.nan)

    def interval(self, level: Level, of: Callable[[Study, Level], np.ndarray | float]) -> np.ndarray:
        """(2, ...): between which 95 % of the values `of` a level lie, over the samples in which the level has a law; NaN without any."""
        pairs = [(each, other) for each in self.samples for other in each.levels if other.threshold == level.threshold and other.law]
        if not pairs:
            return np.full((2, *np.shape(of(self, level))), np.nan)
        found: np.ndarray = np.percentile([of(*pair) for pair in pairs], [2.5, 97.5], axis=0)
        return found

    def grid(self) -> np.ndarray:
        """Ratios at which laws are asked"""
        sigma = self.levels[0].sigma
        return np.geomspace(sigma.min() / BEYOND, sigma.max() * BEYOND, 400)

    def best_ratio(self, level: Level) -> tuple[float, float]:
        """The ratio that reaches the return of a level in the fewest hours, and these hours; NaN if no hours are known."""
        return cheapest(self.grid(), self.cost(level, self.grid()))

    def at_end(self, level: Level) -> bool:
        """Whether the cheapest ratio of a level is an end of the range in which it is searched."""
        asked = self.grid()[~np.isnan(self.cost(level, self.grid()))]
        return len(asked) > 0 and self.best_ratio(level)[0] in asked[[0, -1]]

    def ratio_interval(self, level: Level) -> np.ndarray:
        """(2,): `interval` of the cheapest ratio; NaN where that is an end of the range, because the samples cannot pass it."""
        return np.full(2, np.nan) if self.at_end(level) else self.interval(level, lambda drawn, it: drawn.best_ratio(it)[0])


def at(setting: BestValue, sigma: np.ndarray | float) -> np.ndarray:
    """The value of a setting at a ratio: of its law, or, without one, the only value that is known."""
    return setting.law(sigma) if setting.law else np.full_like(np.asarray(sigma, float), setting.best[0])


def proposed(batch: BestValue, sigma: np.ndarray | float) -> np.ndarray:
    """Batch sizes as one would type them: the nearest multiple of `MULTIPLE`, at least one."""
    return np.maximum(np.round(at(batch, sigma) / MULTIPLE), 1) * MULTIPLE


# ---- the study


def study(
    table: Sequence[Cell], thresholds: Sequence[float] | None = None, draws: int = DRAWS, seed: int = 0, speed: StepTime | None = None
) -> Study:
    """
    Args:
        thresholds: returns J; None: those of `spread`, whose median then decides on the best settings; otherwise see `middle`.
        draws, seed: of the bootstrap over seeds.
        speed: of the machine whose hours are asked; None: that of the runs.

    Raises:
        NeverReachedError: no cell reaches one of the thresholds by learning.
    """
    notes: list[str] = []
    table = comparable(table, notes.append)
    sigma = np.array(sorted({each.sigma for each in table}))
    if len(sigma) < 3:
        notes.append(f"the grid has {len(sigma)} replay ratios: laws of fewer than 3 say little")
    asked = sorted(thresholds) if thresholds is not None else spread(table, notes.append)
    decisive = middle(table, asked, notes.append) if thresholds is not None else float(np.median(asked))
    rng = np.random.default_rng(seed)
    samples = [[rng.integers(0, len(each.returns), len(each.returns)) for each in table] for _ in range(draws)]
    data = np.array(
        [[reached(each.steps, each.returns[rows].mean(0), decisive) for each, rows in zip(table, chosen)] for chosen in samples]
    )
    if np.isnan(data).all():
        raise NeverReachedError(f"no bootstrap sample reaches a return of {decisive:g}: name lower returns with --returns.")
    batch, rate = (best(table, data, sigma, of, over, note=notes.append) for of, over in (("batch", "rate"), ("rate", "batch")))
    low = untrained(table)
    levels = [level(table, threshold, sigma, batch, rate, low) for threshold in asked]
    speed = speed or pace(table)
    drawn = zip(samples, data) if max(len(each.returns) for each in table) > 1 else ()
    redone = [sampled(table, rows, reach[None], sigma, asked, speed, low) for rows, reach in drawn if not np.isnan(reach).all()]
    if not redone:
        notes.append("every cell has one seed: laws and the next run have no intervals")
    for each in levels:
        if never := each.sigma[np.isnan(each.data)].tolist():
            notes.append(f"a return of {each.threshold:.4g} is never reached at a ratio of {', '.join(f'{value:g}' for value in never)}")
        if each.threshold <= low:
            notes.append(f"a return of {each.threshold:.4g} is not above {low:.4g}, the level of the first evaluations: it has no law")
        elif early := each.sigma[each.censored].tolist():
            notes.append(
                f"a return of {each.threshold:.4g} is reached at the first evaluation or before the first update at a ratio of "
                f"{', '.join(f'{value:g}' for value in early)}: how many steps it takes is not known, and its law is of the other ratios"
            )
    notes += [f"a return of {each.threshold:.4g} is not extrapolated: {each.doubt}" for each in levels if each.doubt]
    if wide := [f"{each.threshold:.4g}" for each in levels if not each.doubt and abs(each.left_out) > FAR]:
        notes.append(
            f"laws without the largest ratio miss its data by more than {FAR:.0%} at returns of {', '.join(wide)}: "
            "what lies beyond the grid may be missed as far"
        )
    notes += lacking([place for place in levels if not place.doubt], redone, draws)
    found = Study(batch, rate, levels, speed, notes, redone, table, table[0].starts)
    if not found.pace.known:
        notes.append("no run tells its times: hours are unknown, and no next run is named")
        return found
    last = [found.best_ratio(each)[0] for each in levels if not each.doubt and found.at_end(each)]
    if {*last} - {*found.grid()[[0, -1]]}:
        notes.append("the cheapest ratio is where a law comes near to the first update and is no longer asked: train there first")
    if {*last} & {*found.grid()[[0, -1]]}:
        notes.append(f"the cheapest ratio is {BEYOND:g} times beyond the grid, where laws are no longer asked: train there first")
    return found


def sampled(
    table: Sequence[Cell],
    rows: Sequence[np.ndarray],
    data: np.ndarray,
    sigma: np.ndarray,
    asked: Sequence[float],
    speed: StepTime,
    low: float,
) -> Study:
    """The study of one bootstrap sample.

    Args:
        rows: seeds of each cell, (seeds,), with repetition.
        data: (1, cells) steps of the sample to the return of the best settings.
        low: level of the first evaluations, of all seeds.
    """
    drawn = [each._replace(returns=each.returns[chosen]) for each, chosen in zip(table, rows)]
    batch, rate = (best(drawn, data, sigma, of, over, note=lambda text: None) for of, over in (("batch", "rate"), ("rate", "batch")))
    return Study(batch, rate, [level(drawn, threshold, sigma, batch, rate, low) for threshold in asked], speed, starts=table[0].starts)


def lacking(levels: Sequence[Level], samples: Sequence[Study], draws: int) -> list[str]:
    """A sentence for each return whose law some samples lack, because their intervals are then of the others."""
    counts = {
        each.threshold: sum(other.law is not None for one in samples for other in one.levels if other.threshold == each.threshold)
        for each in levels
    }
    return [
        f"a return of {threshold:.4g} has a law in {count} of {draws} bootstrap samples: its intervals are of these, and too narrow"
        for threshold, count in counts.items()
        if samples and count < draws
    ]


def comparable(table: Sequence[Cell], note: Callable[[str], object]) -> list[Cell]:
    """Cells whose batch size and rate every ratio has, because the best of other choices would differ for that alone; all, if there are
    none."""
    pairs = [{(each.batch, each.rate) for each in table if each.sigma == sigma} for sigma in {each.sigma for each in table}]
    shared, everything = set.intersection(*pairs), set.union(*pairs)
    if shared == everything:
        return list(table)
    kept = [each for each in table if (each.batch, each.rate) in shared]
    what = f"{len(table) - len(kept)} of {len(table)} cells are left out" if kept else "nothing is left out, and laws may be of the grid"
    note(f"batch sizes and rates differ between the ratios: {what}")
    return kept or list(table)


def best(table: Sequence[Cell], data: np.ndarray, sigma: np.ndarray, of: str, over: str, note: Callable[[str], object]) -> BestValue:
    """The value of `of` with the least data, at every ratio and every value of `over`, averaged geometrically.

    Args:
        data: (draws, cells) steps to the threshold.
    """
    chosen = np.full((len(data), len(sigma)), np.nan)  # log of the mean over `over`
    at_edge: list[str] = []
    for column, ratio in enumerate(sigma):
        places = [i for i, each in enumerate(table) if each.sigma == ratio]
        rows = [[i for i in places if getattr(table[i], over) == other] for other in sorted({getattr(table[i], over) for i in places})]
        values = [np.array([getattr(table[i], of) for i in row]) for row in rows]
        winners = [winner(data[:, row], each) for row, each in zip(rows, values)]  # (draws,) of each value of `over`
        logs = np.log(winners)
        some = ~np.isnan(logs).all(0)
        chosen[some, column] = np.nanmean(logs[:, some], axis=0)
        edges = [np.isin(won, (each.min(), each.max()))[~np.isnan(won)] for won, each in zip(winners, values) if len(each) > 1]
        share = float(np.mean(np.concatenate([*edges, [False]])))  # one more, so that it is a mean of something
        if share > 0.5:
            at_edge.append(f"{ratio:g}")
    if at_edge:
        note(f"the best {of} is mostly at an edge of the grid at a ratio of {', '.join(at_edge)}: it may lie outside")
    known = ~np.isnan(chosen).all(0)
    best = np.exp(np.nanmean(chosen[:, known], axis=0))
    if known.sum() < 2:
        return BestValue(of, sigma[known], best, None, np.nan, np.nan)
    slopes = [power_law(sigma[here], np.exp(row[here])).slope for row in chosen for here in [~np.isnan(row)] if here.sum() > 1]
    low, high = np.percentile(slopes, [2.5, 97.5]) if max(len(each.returns) for each in table) > 1 else (np.nan, np.nan)
    if low <= 0 <= high and len({getattr(each, of) for each in table}) > 1:
        note(f"the slope of the best {of} lies between {low:.2f} and {high:.2f}: it may be 0")
    return BestValue(of, sigma[known], best, power_law(sigma[known], best), float(low), float(high))


def winner(data: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(draws,): of values (n,) that with the least data (draws, n); NaN where none reaches the threshold."""
    known = np.where(np.isnan(data), np.inf, data)
    return np.where(np.isinf(known).all(1), np.nan, values[known.argmin(1)])


def level(table: Sequence[Cell], threshold: float, sigma: np.ndarray, batch: BestValue, rate: BestValue, low: float) -> Level:
    """
    Args:
        low: level of the first evaluations. A return that is not above it takes no learning, and all its points are censored.
    """
    chosen = [nearest([each for each in table if each.sigma == ratio], float(at(batch, ratio)), float(at(rate, ratio))) for ratio in sigma]
    data = np.array([each.data(threshold) for each in chosen])
    censored = np.array([each.early(steps) or bool(threshold <= low and np.isfinite(steps)) for each, steps in zip(chosen, data)])
    known = ~np.isnan(data) & ~censored
    law = data_law(sigma[known], data[known]) if known.sum() > 1 else None
    left_out = np.nan
    if known.sum() > 2 and known[-1]:
        shorter = data_law(sigma[known][:-1], data[known][:-1])
        left_out = float(shorter(sigma[known][-1]) / data[known][-1] - 1)
    return Level(threshold, sigma, data, np.array([each.batch for each in chosen]), law, left_out, censored)


def nearest(table: Sequence[Cell], batch: float, rate: float) -> Cell:
    """The cell whose batch size and rate differ least from two values, by the ratio."""
    return min(table, key=partial(_distance, batch=batch, rate=rate))


def _distance(cell: Cell, batch: float, rate: float) -> float:
    return abs(np.log(cell.batch / batch)) + abs(np.log(cell.rate / rate))
