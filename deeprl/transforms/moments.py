"""Mean and variance of a stream of arrays."""

from __future__ import annotations

import numpy as np


class Moments:
    """Mean and variance of a stream, merged batch by batch (Chan, Golub, LeVeque, 1979), in float64."""

    @staticmethod
    def merge(count: float, mean: np.ndarray, m2: np.ndarray, batch: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Moments after a `batch` (n, ...); `m2` is the sum of squared deviations from the mean."""
        batch = batch.astype(np.float64)
        n = batch.shape[0]
        delta = batch.mean(0) - mean
        total = count + n
        return total, mean + delta * (n / total), m2 + ((batch - batch.mean(0)) ** 2).sum(0) + delta**2 * (count * n / total)
