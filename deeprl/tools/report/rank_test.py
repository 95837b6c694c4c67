"""Test that runs of two agents rank alike on several tasks, and the correction of a family of such tests.

Bootstrap intervals of few seeds are too narrow, and ten independent tests at 5 % have a false rejection in 40 % of cases (1 − 0.95¹⁰).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

MOST = 200_000
"""Splits of the runs of a task up to which all are counted: those of ten runs beside ten. Of more, so many are drawn."""
DIGITS = 9
"""Places to which sums of probabilities are told from each other"""
MANY, FEWER = 1_000_000, 3
"""More sums than this are told from each other to fewer places: those of many tasks whose numbers of runs differ"""


def p_value(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> float:
    """Two-sided p of the probability that a run of X scores higher than one of Y (`deeprl.tools.report.statistics.improvement`).

    If the scores of both agents have the same distribution on each task, every split of its runs into X's and Y's is as likely as the one
    that was seen, independently of the other tasks. p is the share of all splits whose mean probability over tasks is at least as far from
    1/2. It is exact, unless a task has more than `MOST` splits: then that which was seen and `MOST` − 1 random ones stand for all of them.

    Args:
        x, y: scores of the same tasks in the same order, each (seeds,).
    """
    sums: np.ndarray = np.zeros(1)  # of the probabilities of the tasks so far, over their splits
    shares: np.ndarray = np.ones(1)
    seen = 0.0
    for mine, theirs in zip(x, y, strict=True):
        above = halves_above(np.concatenate([mine, theirs]), divisions(len(mine), len(theirs))) / (2 * len(mine) * len(theirs))
        values, counts = np.unique(above, return_counts=True)
        digits = DIGITS if len(sums) * len(values) <= MANY else FEWER
        sums, places = np.unique(np.round(sums[:, None] + values, digits), return_inverse=True)
        shares = np.bincount(places.ravel(), weights=(shares[:, None] * (counts / len(above))).ravel())
        seen += float(above[0])
    far = np.abs(sums - len(x) / 2) > abs(seen - len(x) / 2) - 10.0**-DIGITS * len(x)
    return min(float(shares[far].sum()), 1.0)


def halves_above(pooled: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Of each split, (S,), the number of pairs in which a chosen run scores higher than another one, in halves: a tie counts one.

    Args:
        pooled: (R,) scores of all runs.
        chosen: (S, R) bool.
    """
    wins = (np.sign(pooled[:, None] - pooled) + 1).astype(np.float32)  # 0, 1 and 2, whose sums are exact
    return np.einsum("sr,sr->s", chosen @ wins, (~chosen).astype(np.float32)).astype(np.int64)


@lru_cache(maxsize=8)
def divisions(mine: int, theirs: int) -> np.ndarray:
    """Splits of the runs of a task, (S, mine + theirs) bool: the first is the one in which the first runs are mine."""
    size = mine + theirs
    if math.comb(size, mine) <= MOST:
        which = np.array([*combinations(range(size), mine)], dtype=np.int64)
    else:
        which = np.argsort(np.random.default_rng(0).random((MOST, size)), axis=1)[:, :mine]
        which[0] = np.arange(mine)
    chosen = np.zeros((len(which), size), dtype=bool)
    np.put_along_axis(chosen, which, True, axis=1)
    return chosen


def holm(found: Sequence[float]) -> list[float]:
    """p-values of a family of tests, each raised so that 5 % bounds the probability of any false rejection in the family.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted, least = [0.0] * len(found), 0.0
    for rank, place in enumerate(np.argsort(found)):
        least = max(least, min(1.0, (len(found) - rank) * found[place]))
        adjusted[place] = least
    return adjusted
