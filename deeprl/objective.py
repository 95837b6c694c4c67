"""A loss, the parameters it trains, and the optimizer that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from deeprl.optim.flat import Flat, Groups
from deeprl.types import Learned


@dataclass
class Objective:
    """One loss, the parameters that it trains, and their optimizer.

    Args:
        loss: batch -> (scalar loss, `Learned`); a pure function of parameters and batch.
        parameters: trained by this loss. All others are constants for it.
        optimizer: holds the parameters in one flat tensor, or in one for each group.
    """

    loss: Callable[..., tuple[Tensor, Learned]]
    parameters: Sequence[nn.Parameter]
    optimizer: Flat | Groups
