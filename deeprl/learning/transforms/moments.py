"""Mean and variance of a stream of arrays."""

from __future__ import annotations

import numpy as np


def merge(count: float, mean: np.ndarray, m2: np.ndarray, batch: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Moments of a stream after a `batch` (n, ...), in float64 (Chan, Golub, LeVeque, 1979).

    Args:
        count, mean, m2: before it: number of entries, their mean, the sum of their squared deviations from it.
    """
    batch = batch.astype(np.float64)
    n = batch.shape[0]
    delta = batch.mean(0) - mean
    total = count + n
    return total, mean + delta * (n / total), m2 + ((batch - batch.mean(0)) ** 2).sum(0) + delta**2 * (count * n / total)
