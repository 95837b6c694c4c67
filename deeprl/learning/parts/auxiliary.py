"""Auxiliary losses on the features that an agent's networks share. Critics have those of pairs (observation, action)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from deeprl.choice import Part
from deeprl.learning.networks.blocks import Torso
from deeprl.learning.optim.flat import Optimizer, Trained
from deeprl.learning.parts.chains import Chain
from deeprl.learning.plan import Plan
from deeprl.learning.values.view import View
from deeprl.types import NO_TERM, Batch, Term


class Auxiliary(Part):
    """An auxiliary loss on the shared features. This base class is neutral: it adds none.

    Args:
        plan: finished choices of the agent.
    """

    former: ClassVar = {"check": "bind"}

    def __init__(self, *, plan: Plan):
        super().__init__()

    def beside(self, torso: Torso, n: int, heads: int) -> nn.Module | None:
        """Modules that every network of the chain has beside its head: blocks that `initialise` can fill, stacks of `n` like its torso, or
        of `heads` like its head. In an ensemble both count each critic.

        A chain copies and rolls them with torso and head. The agent's optimizer trains those of the online network."""
        return None

    def bind(self, chain: Chain) -> None:
        """Keep what the loss needs to know of the agent's chain. The part keeps no reference, because the agent owns the chain.

        Raises:
            ValueError: the loss has no meaning with this chain.
        """

    def groups(self, beside: Any, optimizer: Optimizer) -> Trained:
        """All parameters of the modules from `beside`, in groups, each with its optimizer.

        Args:
            optimizer: choice that trains the agent.
        """
        return []

    def forward(self, online: View, target: View, batch: Batch) -> Term:
        """What is added to the loss of the values, with metrics.

        Args:
            batch: as the networks see it; of critics see `ActorCritic.views`.
        """
        return NO_TERM
