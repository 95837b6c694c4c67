"""Flat parameters of an objective that makes steps of its own, see `deeprl.learning.objective.Objective`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deeprl.learning.optim.flat import Flat


class OwnSteps(Flat):
    """No rule: whoever makes the step writes to `flat`, and says how long it was.

    Attributes:
        length: () that of the last step; logged as the learning rate.
    """

    averages = ("length",)

    def __init__(self, parameters: Sequence[nn.Parameter]):
        super().__init__(None, parameters)
        self.length = torch.zeros((), device=self.flat.device)

    def move_(self, to: Tensor, length: Tensor | float) -> None:
        """Set the parameters, (P,)."""
        with torch.no_grad():
            self.flat.copy_(to)
            self.length.fill_(float(length))

    def reset(self) -> None:
        self.length.zero_()

    def rate(self, step: int) -> float:
        return float(self.length)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.length.copy_(state["length"])
