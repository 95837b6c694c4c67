"""Auxiliary losses on the features that an agent's networks share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deeprl.choice import Part
from deeprl.plan import Plan
from deeprl.types import Batch
from deeprl.values.view import View


class Auxiliary(Part):
    """An auxiliary loss on the shared features. This base class is neutral: it adds none.

    Args:
        plan: finished choices of the agent.
    """

    def __init__(self, *, plan: Plan):
        super().__init__()

    def beside(self, torso: nn.Module, n: int) -> nn.Module | None:
        """Modules that every network of the chain has beside its head, stacks of `n` like its torso: blocks that `initialise` can fill.

        A chain copies and rolls them with the torso. The agent's optimizer trains those of the online network."""
        return None

    def groups(self, beside: nn.Module) -> list[tuple[Sequence[nn.Parameter], float]]:
        """All parameters of the modules from `beside`, in groups, each with its multiple of the agent's learning rate."""
        return []

    def forward(self, online: View, target: View, batch: Batch) -> tuple[Tensor | float, dict[str, Tensor]]:
        """Scalar that is added to the agent's loss, and metrics."""
        return 0.0, {}
