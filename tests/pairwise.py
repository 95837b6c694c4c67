"""Few combinations of many options, such that every two options that can meet do meet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence

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
    rows = [row for row in itertools.product(*slots) if keep(*row)]
    bits: dict[tuple, int] = {}  # a pair -> its bit
    masks = [sum(1 << bits.setdefault(pair, len(bits)) for pair in pairs(row)) for row in rows]
    missing, chosen = (1 << len(bits)) - 1, []
    while missing:
        best = max(range(len(rows)), key=lambda i: (masks[i] & missing).bit_count())
        chosen.append(rows[best])
        missing &= ~masks[best]
    return chosen


def crossed(*slots: Sequence[Hashable]) -> list:
    """Every combination as a parameter; by default those that `pairwise` chooses, the others with `pytest -m exhaustive`."""
    few = set(pairwise(*slots))
    return [pytest.param(*row, marks=() if row in few else pytest.mark.exhaustive) for row in itertools.product(*slots)]
