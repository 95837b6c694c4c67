"""Mean and variance of a stream of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def merge_(count: Tensor, mean: Tensor, m2: Tensor, batch: np.ndarray | Tensor) -> None:
    """Take a `batch` (n, ...) into the moments of a stream, in place (Chan, Golub, LeVeque, 1979).

    Args:
        count, mean, m2: float64; number of entries (), their mean (...) and the sum of their squared deviations from it (...). Where the
            batch is a tensor, on its device, and no number is read.
    """
    if isinstance(batch, Tensor):
        total, *moments = merged(count, mean, m2, batch.double(), len(batch))
    else:
        total, *moments = merged(float(count), mean.cpu().numpy(), m2.cpu().numpy(), batch.astype(np.float64), len(batch))
    count.fill_(total)
    for into, value in zip((mean, m2), moments):
        into.copy_(torch.as_tensor(value))


def merged(before: Any, old: Any, squares: Any, batch: Any, n: int) -> tuple[Any, Any, Any]:
    """The three of a stream with `n` more entries, of arrays or tensors."""
    center, total = batch.sum(0) / n, before + n
    delta = center - old
    return total, old + delta * (n / total), squares + ((batch - center) ** 2).sum(0) + delta**2 * (before * n / total)


def move_(part: nn.Module, device: torch.device, *names: str) -> None:
    """Put buffers where rows are observed."""
    for name in names:
        setattr(part, name, getattr(part, name).to(device))
