"""The value of states that advantages and returns of a rollout are taken with, made of the learned one."""

from __future__ import annotations

from torch import Tensor

from deeprl.choice import Part
from deeprl.types import Spec


class Baseline(Part):
    """V = V_φ, the learned value alone: neutral. Another one combines it with what is known before.

    Args:
        spec: spaces of the environment.
    """

    zero_start = False
    """Whether the last layer of V_φ starts at 0"""

    def __init__(self, *, spec: Spec):
        super().__init__()

    def columns(self, obs: Tensor, step: int) -> dict[str, Tensor]:
        """What `forward` reads of rows, (*B,) each, for the batches that are drawn of a rollout.

        Args:
            obs: as the environment gives them, (*B, *obs).
            step: environment step, for schedules.
        """
        return {}

    def forward(self, learned: Tensor, columns: dict[str, Tensor]) -> Tensor:
        """V of rows with V_φ, (*B,)."""
        return learned
