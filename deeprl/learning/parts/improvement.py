"""What an actor seeks beside its entropy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.choice import Choice
from deeprl.types import Batch


@dataclass(frozen=True)
class Improvement(Choice):
    """A higher value, L_π = −Q(s, π(s)): the deterministic policy gradient (Silver and others, 2014), and with an entropy that of SAC."""

    def loss(self, value: Tensor, action: Tensor, batch: Batch) -> Tensor:
        """L_π of each row, (*B,).

        Args:
            value: Q(s, π(s)), (*B,), with the gradient of the actor.
            action: π(s), (*B, D) in [−1, 1], with the same gradient.
            batch: has the actions that were taken, and which rows are valid.
        """
        return -value
