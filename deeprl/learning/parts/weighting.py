"""Weights of the samples in the regression."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from deeprl.choice import Part
from deeprl.learning.objective import Objective
from deeprl.learning.parts.chains import Chain
from deeprl.learning.plan import Plan
from deeprl.learning.values.view import View
from deeprl.types import Batch, Term

Views = Callable[[Batch], tuple[View, View, Batch]]
"""Of the replay's batch: an agent's online and target networks at both ends of it, and the batch as these networks see it"""


class Weighting(Part):
    """Weights of the samples. This base class is neutral: it returns the replay's importance weights.

    Args:
        plan: finished choices of the agent.
        chain: the agent's target networks. The part reads sizes and weights and keeps no reference,
            because the agent owns the chain.
    """

    copied: tuple[str, ...] = ()
    """Names of its networks that `shift` makes equal to others"""

    def __init__(self, *, plan: Plan, chain: Chain):
        super().__init__()

    def forward(self, online: View, target: View, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weight of each loss, which broadcasts to (K, *B), and metrics. The call runs without gradient. The critics of an iteration share
        their weights.

        Args:
            batch: as the networks see it; of critics see `ActorCritic.views`.
        """
        return batch.weight, {}

    def objectives(self) -> dict[str, Objective]:
        """Additional objectives, with losses of (online, target, batch) as in `forward`. They are updated before the agent's."""
        return {}

    def trained(self, views: Views) -> dict[str, Objective]:
        """`objectives`, with losses of the replay's batch."""

        def of_batch(loss: Callable[..., Term]) -> Callable[[Batch], Term]:
            return lambda batch: loss(*views(batch))

        return {name: replace(objective, loss=of_batch(objective.loss)) for name, objective in self.objectives().items()}

    def shift(self, target: nn.Module) -> None:
        """Called before the chain starts a new iteration, with the target network before that change."""

    def reset(self, chain: Chain, renew_: Callable[[nn.Module], None]) -> None:
        """Start anew, after the networks of the chain.

        Args:
            renew_: gives a network of the part other initial weights.
        """


def target_copies(chain: Chain, weighting: Weighting) -> dict[str, Callable[[], object]]:
    """Those of `Agent.copies` that every agent with these two parts has."""
    shift = partial(weighting.shift, chain.target)
    return {"chain.target": chain.reset_target, **{f"weighting.{name}": shift for name in weighting.copied}}


def end_period_(chain: Chain, weighting: Weighting, ended: Collection[str], updates: int) -> None:
    """`Chain.on_period`, before which a new iteration renews the weighting."""
    if chain.starts_iteration(ended, updates):
        weighting.shift(chain.target)
    chain.on_period(ended, updates)
