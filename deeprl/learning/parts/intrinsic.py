"""Rewards that an agent gives itself, beside those of the environment."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from deeprl.choice import Part
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.optim.flat import Optimizer
from deeprl.types import Batch, Spec, Term


class Intrinsic(Part):
    """This base class is neutral: none.

    Args:
        spec: spaces of the environment, without action masks.
        torso: choice of the agent's features.
        optimizer: that of the agent.
        seed: of initial weights.
    """

    former: ClassVar = {"wants_pass": "before_pass"}
    gives = False
    """Whether `forward` has to be called"""
    keeps_policy = False
    """Whether the policy must stay as it is through rollouts that `before_pass` drops"""

    def __init__(self, *, spec: Spec, torso: TorsoChoice, optimizer: Optimizer, seed: int):
        super().__init__()

    def forward(self, rollout: Batch) -> Tensor:
        """Rewards of its own, (L, M), which are added to those of the environment before advantages are computed.

        Args:
            rollout: with the axes (L, M); observations as the environment gives them, without action masks.
        """
        raise NotImplementedError

    def before_pass(self, number: int) -> bool:
        """See `Agent.before_pass`; called after `forward`, once before each pass over the rollout, and may change the part."""
        return True

    def diagnostics(self) -> dict[str, float]:
        """Numbers for the log."""
        return {}

    def trained(self) -> tuple[list[nn.Parameter], Optimizer] | None:
        """Parameters that `loss` trains, and their optimizer; None: nothing is learned."""
        return None

    def loss(self, batch: Batch) -> Term:
        """Its own loss, of every batch of a rollout; observations as in `forward`."""
        raise NotImplementedError
