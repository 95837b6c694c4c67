"""Statistics over independent runs: means with Student's t intervals, and the method of Agarwal, Schwarzer, Castro, Courville and
Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021).

Scores are a list with one array per task, (seeds,); tasks may have different numbers of seeds. The unit of resampling is a run, because the
episodes and evaluations of one run are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy  # `scipy.stats` is imported by its first use

LEVEL = 0.95
DRAWS = 10_000
"""Bootstrap samples. The ends of an interval then differ by about 1 % of its width between seeds of the generator."""


class Interval(NamedTuple):
    """A point estimate, and its interval at `LEVEL`; the ends are NaN where one run says nothing about the spread."""

    point: float
    low: float
    high: float


class MeanCurve(NamedTuple):
    x: np.ndarray
    """(G,)"""
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: np.ndarray
    """(G,) number of runs that have a value at x"""


# ---- means


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis, and Student's t interval: mean ± t(n−1) s / √n. NaN entries are missing values.

    Args:
        values: (n, *) with at least one value in each column.

    Returns:
        mean, low, high: (*). The ends are NaN where n is 1.
    """
    count = np.sum(~np.isnan(values), axis=0)
    mean = np.nanmean(values, axis=0)
    square = np.nansum((values - mean) ** 2, axis=0)
    freedom = np.where(count > 1, count - 1, np.nan)
    half = scipy.stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(square / freedom / count)
    return mean, mean - half, mean + half


def mean(values: np.ndarray) -> Interval:
    """`mean_interval` of one array, (n,)."""
    return Interval(*(float(part) for part in mean_interval(values)))


def mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]], complete: Sequence[bool]) -> MeanCurve:
    """Mean of learning curves, interpolated linearly at every x that one of them has.

    It covers the range that all complete curves share, which may be empty. Curves that are not complete count as far as they reach.

    Args:
        curves: (x, y) with x that does not decrease; of points with equal x (no update between two evaluations) the last one counts.
        complete: for each curve, whether it belongs to a run that was not cut short.
    """
    last = [np.append(x[1:] > x[:-1], True) for x, _ in curves]
    curves = [(x[kept], y[kept]) for (x, y), kept in zip(curves, last)]
    full = [x for (x, _), whole in zip(curves, complete) if whole]
    low, high = max(x[0] for x in full), min(x[-1] for x in full)
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[(grid >= low) & (grid <= high)]
    values = np.array([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in curves])
    return MeanCurve(grid, *mean_interval(values), np.sum(~np.isnan(values), axis=0))


# ---- aggregates over runs and tasks


def iqm(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean without the lowest and the highest ⌊n/4⌋ values."""
    return scipy.stats.trim_mean(scores, 0.25, axis=axis)


def resampled(tasks: Sequence[np.ndarray], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Stratified bootstrap samples: the seeds of each task are drawn with replacement, independently of other tasks.

    Returns:
        (draws, runs of all tasks)
    """
    rng = np.random.default_rng(seed)
    return np.concatenate([scores[rng.integers(len(scores), size=(draws, len(scores)))] for scores in tasks], axis=1)


def percentiles(samples: np.ndarray) -> np.ndarray:
    """The two ends of the percentile interval of bootstrap samples, (draws, *) -> (2, *)."""
    tail = 100 * (1 - LEVEL) / 2
    return np.percentile(samples, [tail, 100 - tail], axis=0)


def bootstrap(tasks: Sequence[np.ndarray], statistic: Callable[..., np.ndarray] = iqm, draws: int = DRAWS) -> Interval:
    """A statistic of all scores together, and its stratified-bootstrap interval.

    Args:
        statistic: of (*, runs) along the last axis, such as `iqm` or `np.mean`.
    """
    point = float(statistic(np.concatenate(tasks), axis=-1))
    if all(len(scores) == 1 for scores in tasks):
        return Interval(point, np.nan, np.nan)
    low, high = percentiles(statistic(resampled(tasks, draws), axis=-1))
    return Interval(point, float(low), float(high))


def relative(
    tasks: Sequence[np.ndarray], baseline: Sequence[np.ndarray], statistic: Callable[..., np.ndarray] = iqm, draws: int = DRAWS
) -> Interval:
    """A statistic of all scores in units of a baseline's mean on their task, and its stratified-bootstrap interval.

    The baseline's runs are drawn again too, because a unit of few runs is uncertain itself.

    Args:
        baseline: scores of other runs, of the same tasks in the same order, with positive means.
    """
    point = float(statistic(np.concatenate([scores / unit.mean() for scores, unit in zip(tasks, baseline, strict=True)]), axis=-1))
    if all(len(scores) == 1 for scores in (*tasks, *baseline)):
        return Interval(point, np.nan, np.nan)
    units = [resampled([unit], draws, seed=1 + task).mean(axis=1, keepdims=True) for task, unit in enumerate(baseline)]
    sizes = np.cumsum([len(scores) for scores in tasks])[:-1]
    samples = [drawn / unit for drawn, unit in zip(np.split(resampled(tasks, draws), sizes, axis=1), units, strict=True)]
    low, high = percentiles(statistic(np.concatenate(samples, axis=1), axis=-1))
    return Interval(point, float(low), float(high))


def profile(tasks: Sequence[np.ndarray], thresholds: np.ndarray, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Performance profile: the fraction of runs with a score above each threshold, and its pointwise stratified-bootstrap interval.

    Returns:
        fraction, low, high: (thresholds,)
    """
    fraction = np.mean(np.concatenate(tasks)[:, None] > thresholds, axis=0)
    samples = resampled(tasks, draws)
    low, high = np.transpose([percentiles(np.mean(samples > threshold, axis=1)) for threshold in thresholds])
    return fraction, low, high


def improvement(x: Sequence[np.ndarray], y: Sequence[np.ndarray], draws: int = DRAWS, seed: int = 0) -> Interval:
    """Probability that a run of X scores higher than a run of Y on the same task, averaged over the tasks: on each task the Mann-Whitney
    statistic U / (n m), in which a tie counts one half.

    Args:
        x, y: scores of the same tasks in the same order.
    """
    points, samples = [], []
    drawn = iter(drawn_counts(tuple(len(scores) for task in zip(x, y) for scores in task), draws, seed))
    for mine, theirs in zip(x, y):
        n, m = len(mine), len(theirs)
        wins = (np.sign(mine[:, None] - theirs) + 1) / 2  # (n, m)
        points.append(wins.mean())
        samples.append(np.sum((next(drawn) @ wins) * next(drawn), axis=1) / (n * m))
    point = float(np.mean(points))
    if all(len(scores) == 1 for scores in (*x, *y)):
        return Interval(point, np.nan, np.nan)
    low, high = percentiles(np.mean(samples, axis=0))
    return Interval(point, float(low), float(high))


@lru_cache(maxsize=8)
def drawn_counts(sizes: tuple[int, ...], draws: int, seed: int) -> list[np.ndarray]:
    """How often each of `size` runs is drawn, (draws, size) for each size. The last ones are kept, because the groups of a report have few
    sizes, and its pairs of groups are thousands."""
    rng = np.random.default_rng(seed)
    return [rng.multinomial(size, np.full(size, 1 / size), size=draws).astype(np.int32) for size in sizes]
