"""Random generators that a whole process shares. Nothing of deeprl draws from them, but an environment may."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """After this block the generators of Python, NumPy and torch (of the CPU) are in the state that they had before it."""
    python, numpy, ours = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002, an environment's
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(ours)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """As `kept`, and inside the generators start from a seed, because layers of torch draw their first weights from them.

    Args:
        seed: of 32 bits.
    """
    with kept():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)  # of all devices
        yield
