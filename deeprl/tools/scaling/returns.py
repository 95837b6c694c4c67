"""Which returns a study asks, and the one for which it seeks the best settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from deeprl.tools.scaling.cells import Cell
from deeprl.tools.scaling.fits import isotonic

THRESHOLDS = 6
"""Returns for which laws are fitted, unless the command names some"""
MORE = "train a grid with more steps"


class NeverReachedError(ValueError):
    """No cell reaches the returns that are asked for by learning."""


def untrained(table: Sequence[Cell]) -> float:
    """The return at the first evaluation: the median over cells."""
    return float(np.median([each.returns.mean(0)[0] for each in table]))


def tops(table: Sequence[Cell]) -> dict[float, float]:
    """The best return of each ratio: the highest end of the monotone mean curves of its cells."""
    found: dict[float, float] = {}
    for each in table:
        found[each.sigma] = max(found.get(each.sigma, -np.inf), top_of(each))
    return found


def top_of(cell: Cell) -> float:
    return float(isotonic(cell.returns.mean(0))[-1])


def spread(table: Sequence[Cell], note: Callable[[str], object] = lambda text: None) -> list[float]:
    """`THRESHOLDS` returns, from 40 % to 95 % of the way from the return of the first evaluations to the highest return that some cell of
    every ratio reaches.

    Args:
        note: takes a sentence if a run that ends early bounds them.

    Raises:
        NeverReachedError: nothing is learned at some ratio.
    """
    best, low = tops(table), untrained(table)
    sigma = min(best, key=lambda each: best[each])
    if not best[sigma] > low:
        dull = ", ".join(f"{ratio:g}" for ratio, found in sorted(best.items()) if not found > low)
        high = max(best.values())
        remedy = f"name returns above {low:.4g} and up to {high:.4g} with --returns, or {MORE}" if high > low else MORE
        raise NeverReachedError(f"at a ratio of {dull} no cell ends above {low:g}, the level of the first evaluations: {remedy}.")
    highest = max((each for each in table if each.sigma == sigma), key=top_of)
    if highest.short and highest.steps[-1] < (longest := max(each.steps[-1] for each in table)):
        note(
            f"the returns are those below {best[sigma]:.4g}, because the cells of ratio {sigma:g} come no higher, and the best of them "
            f"ends at step {highest.steps[-1]:,.0f} of {longest:,.0f} with the run {highest.short}: let that run finish, or name --returns"
        )
    return [float(low + share * (best[sigma] - low)) for share in np.linspace(0.4, 0.95, THRESHOLDS)]


def middle(table: Sequence[Cell], asked: Sequence[float], note: Callable[[str], object]) -> float:
    """Of the returns that a user asked the one for which the best settings are sought: the middle one of those that some cell reaches by
    learning, the lower one of two.

    Args:
        asked: in rising order.
        note: takes a sentence if some are not reached so.

    Raises:
        NeverReachedError: none is.
    """
    low = untrained(table)
    learned = [each for each in asked if each > low and any(cell.learns(each) for cell in table)]
    if learned:
        chosen = learned[(len(learned) - 1) // 2]
        if len(learned) < len(asked):
            rest = ", ".join(f"{each:.4g}" for each in asked if each not in learned)
            note(f"no cell learns a return of {rest}: the best batch and rate are those for a return of {chosen:.4g}")
        return chosen
    high = max(tops(table).values())
    words = ", ".join(f"{each:g}" for each in asked)
    if min(asked) > high:
        dull = f"name lower returns with --returns, above {low:.4g}, the level of the first evaluations, or {MORE}"
        nothing = f"{MORE}, because none ends above {low:.4g}, the level of the first evaluations"
        raise NeverReachedError(f"no cell reaches a return of {words}: {dull if high > low else nothing}.")
    learnable = any(cell.learns(top_of(cell)) for cell in table) and high > low
    remedy = f"Name returns up to {high:.4g} with --returns, or {MORE}" if learnable else MORE.capitalize()
    early = (
        f"it is no higher than {low:.4g}, the level of the first evaluations, or is reached at the first evaluation or before the first "
        "update (replay.learning_starts)"
    )
    raise NeverReachedError(f"no cell learns a return of {words}: {early}. {remedy}.")
