"""How much each sample of the regression counts."""

from __future__ import annotations

from torch import Tensor, nn

from deeprl.choice import Part
from deeprl.objective import Objective
from deeprl.parts.chains import Chain
from deeprl.plan import Plan
from deeprl.types import Batch
from deeprl.values.view import View


class Weighting(Part):
    """How much each sample counts. This one is neutral: the replay's importance weight alone.

    Args:
        plan: of the agent.
        chain: the agent's target networks. The part reads sizes and weights and keeps no reference,
            because the agent owns the chain.
    """

    def __init__(self, *, plan: Plan, chain: Chain):
        super().__init__()

    def forward(self, online: View, target: View, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weight of each loss, one that broadcasts to (K, *B), and metrics. Taken without gradient."""
        return batch.weight, {}

    def objectives(self) -> dict[str, Objective]:
        """Losses of its own, of (online, target, batch) as in `forward`, stepped before the agent's."""
        return {}

    def shift(self, target: nn.Module) -> None:
        """Called before the chain starts a new iteration, with the target network as it still is."""
