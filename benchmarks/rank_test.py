"""Exact test that runs of two agents rank alike on several tasks, and the correction of a family of such tests.

The verdicts of docs/claims.md rest on these p-values, because bootstrap intervals of few seeds are too narrow, and because ten independent
tests at 5 % have a false rejection in 40 % of cases (1 − 0.95¹⁰).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np


def p_value(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> float:
    """Two-sided p of the probability that a run of X scores higher than one of Y (`deeprl.tools.report.statistics.improvement`).

    If the scores of both agents have the same distribution on each task, every split of its runs into X's and Y's is as likely as the one
    that was seen, independently of the other tasks. p is the share of all splits whose mean probability over tasks is at least as far from
    1/2.

    Args:
        x, y: scores of the same tasks in the same order, each (seeds,).
    """
    splits: Counter[Fraction] = Counter({Fraction(0): 1})
    seen = Fraction(0)
    for mine, theirs in zip(x, y, strict=True):
        pooled = np.concatenate([mine, theirs])
        task = Counter(above(pooled, chosen) for chosen in combinations(range(len(pooled)), len(mine)))
        seen += above(pooled, range(len(mine)))
        total: Counter[Fraction] = Counter()
        for one, times in splits.items():
            for other, often in task.items():
                total[one + other] += times * often
        splits = total
    middle = Fraction(len(x), 2)
    return sum(times for each, times in splits.items() if abs(each - middle) >= abs(seen - middle)) / splits.total()


def above(pooled: np.ndarray, chosen: Sequence[int]) -> Fraction:
    """Share of pairs in which a chosen run scores higher than another one; a tie counts one half."""
    mine, theirs = pooled[list(chosen)], np.delete(pooled, list(chosen))
    return Fraction(int(np.sum(np.sign(mine[:, None] - theirs) + 1)), 2 * len(mine) * len(theirs))


def holm(found: Sequence[float]) -> list[float]:
    """p-values of a family of tests, each raised so that 5 % bounds the probability of any false rejection in the family.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted, least = [0.0] * len(found), 0.0
    for rank, place in enumerate(np.argsort(found)):
        least = max(least, min(1.0, (len(found) - rank) * found[place]))
        adjusted[place] = least
    return adjusted
