"""Mean and variance of a stream of arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def merge_(count: Tensor, mean: Tensor, m2: Tensor, batch: np.ndarray) -> None:
    """Take a `batch` (n, ...) into the moments of a stream, in place (Chan, Golub, LeVeque, 1979).

    Args:
        count, mean, m2: float64; number of entries (), their mean (...) and the sum of their squared deviations from it (...).
    """
    before, old, squares, n = float(count), mean.cpu().numpy(), m2.cpu().numpy(), len(batch)
    batch = batch.astype(np.float64)
    center, total = batch.sum(0) / n, before + n
    delta = center - old
    count.fill_(total)
    m2.copy_(torch.as_tensor(squares + ((batch - center) ** 2).sum(0) + delta**2 * (before * n / total)))
    mean.copy_(torch.as_tensor(old + delta * (n / total)))
