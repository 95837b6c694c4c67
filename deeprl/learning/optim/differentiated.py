"""Parameters have gradients only while a loss is differentiated, so that networks which it does not train cost none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def differentiated(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Gradients of these parameters, in this context alone."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
