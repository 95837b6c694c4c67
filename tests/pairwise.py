"""Few combinations of many options, such that every two options that can meet do meet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import pytest

Row = tuple[Hashable, ...]


def pairs(row: Row) -> Iterable[tuple]:
    """(slot, option, slot, option) of every two slots."""
    return ((i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2))


def pairwise(*slots: Sequence[Hashable], keep: Callable[..., bool] = lambda *_: True) -> list[Row]:
    """
    Rows, one option of each slot, that hold every pair of options of every two slots at least once. Greedy: the next row is the first of
    those with the most pairs that no row has held yet, so the same slots always give the same rows.

    Args:
        keep: which rows count. A pair that occurs in none of them is left out.
    """
    kept = np.fromiter((keep(*row) for row in itertools.product(*slots)), bool)
    rows = np.indices([len(slot) for slot in slots], np.int16).reshape(len(slots), -1)[:, kept]  # (slots, rows), places of options
    met, chosen = set(), []
    score = np.full(rows.shape[1], math.comb(len(slots), 2))  # (rows,), pairs that no chosen row holds
    while score.any():
        row = rows[:, score.argmax()].tolist()
        chosen.append(tuple(slot[place] for slot, place in zip(slots, row)))
        for i, one, j, other in {*pairs(row)} - met:
            score -= (rows[i] == one) & (rows[j] == other)
        met.update(pairs(row))
    return chosen


def crossed(*slots: Sequence[Hashable]) -> list:
    """Every combination as a parameter; by default those that `pairwise` chooses, the others with `pytest -m exhaustive`."""
    few = set(pairwise(*slots))
    return [pytest.param(*row, marks=() if row in few else pytest.mark.exhaustive) for row in itertools.product(*slots)]


def once(*slots: Sequence) -> list:
    """Every combination as a parameter; by default few that have each option, the others with `pytest -m exhaustive`. For what a part does
    alone, beside whatever stands in the other slots."""
    few = {tuple(place % len(slot) for slot in slots) for place in range(max(map(len, slots)))}
    places = itertools.product(*(range(len(slot)) for slot in slots))
    return [
        pytest.param(*(slot[place] for slot, place in zip(slots, row)), marks=() if row in few else pytest.mark.exhaustive)
        for row in places
    ]
