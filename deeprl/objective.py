"""A loss, the parameters it trains, and the optimizer that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from deeprl.optim.flat import Flat, Groups
from deeprl.types import Learned


@dataclass
class Objective:
    """One loss, what it trains and what steps it.

    Args:
        loss: batch -> (scalar loss, `Learned`); a pure function of parameters and batch.
        parameters: what is trained. Everything else is constant for this loss.
        optimizer: holds them in one flat tensor.
    """

    loss: Callable[..., tuple[Tensor, Learned]]
    parameters: Sequence[nn.Parameter]
    optimizer: Flat | Groups
