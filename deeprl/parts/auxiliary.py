"""Losses of their own on what the networks of an agent share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deeprl.choice import Part
from deeprl.plan import Plan
from deeprl.types import Batch
from deeprl.values.view import View


class Auxiliary(Part):
    """An extra loss on what the agent's network shares. This one is neutral: none.

    Args:
        plan: of the agent.
    """

    def __init__(self, *, plan: Plan):
        super().__init__()

    def beside(self, torso: nn.Module, n: int) -> nn.Module | None:
        """What every network of the chain carries beside its head, a stack of `n` like its torso: blocks that `initialise` can fill.

        A chain copies and rolls them with the torso; that of the online network is trained by the agent's optimizer."""
        return None

    def groups(self, beside: nn.Module) -> list[tuple[Sequence[nn.Parameter], float]]:
        """All parameters of what `beside` made, in groups with the multiple of the agent's learning rate that each is trained with."""
        return []

    def forward(self, online: View, target: View, batch: Batch) -> tuple[Tensor | float, dict[str, Tensor]]:
        """A scalar that is added to the agent's loss, and metrics."""
        return 0.0, {}
