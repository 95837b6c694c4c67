"""Maximum of concave functions of one variable, many at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RATIO = (np.sqrt(5.0) - 1.0) / 2.0


def maximum(function: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, steps: int = 80) -> np.ndarray:
    """Largest values (...) of concave functions on the intervals [low, high], both (...), by golden sections.

    Args:
        function: (...) points -> (...) values, each entry a function of its own.
        steps: the interval shrinks to 0.618^steps of itself; 80 leave 2e-17.
    """
    left, right = high - RATIO * (high - low), low + RATIO * (high - low)
    at_left, at_right = function(left), function(right)
    best = np.maximum(np.maximum(function(low), function(high)), np.maximum(at_left, at_right))
    for _ in range(steps):
        lower = at_left >= at_right  # the maximum lies left of `right`
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        new = np.where(lower, high - RATIO * (high - low), low + RATIO * (high - low))
        value = function(new)
        left, at_left, right, at_right = (
            np.where(lower, new, right), np.where(lower, value, at_right), np.where(lower, left, new), np.where(lower, at_left, value)
        )  # fmt: skip
        best = np.maximum(best, value)
    return best
