"""The value of states that advantages and returns of a rollout are taken with, made of the learned one."""

from __future__ import annotations

from torch import Tensor

from deeprl.choice import Part
from deeprl.types import Batch, Spec


class Baseline(Part):
    """V = V_φ, the learned value alone: neutral. Another one combines it with what is known before.

    Args:
        spec: spaces of the environment.
    """

    zero_start = False
    """Whether the last layer of V_φ starts at 0"""

    def __init__(self, *, spec: Spec):
        super().__init__()

    def columns(self, rollout: Batch, step: int) -> dict[str, Tensor]:
        """What `forward` reads of a rollout, (L, M) each, for the batches that are drawn of it.

        Args:
            step: environment step, for schedules.
        """
        return {}

    def ahead(self, rollout: Batch, columns: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same of `next_obs`."""
        return {}

    def forward(self, learned: Tensor, columns: dict[str, Tensor]) -> Tensor:
        """V of rows with V_φ, (*B,)."""
        return learned
