"""Behaviour cloning (Pomerleau, 1991): a policy of the largest likelihood on the actions of the data.

    L = − mean log π(a|s)        discrete actions: cross-entropy; continuous ones: a Gaussian whose deviation is the same in every state

With a deviation held fixed the Gaussian's loss is the squared error, up to factor and constant; a learned one changes the size of the steps
alone. Rewards are not read, no value is learned. The squared error itself, of a policy bounded by tanh, is
`agent=td3_bc agent.improvement.alpha=0`.
"""

from __future__ import annotations

from typing import ClassVar

from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.policy_agent import PolicyAgent
from deeprl.learning.transforms.masks import divided_batch
from deeprl.learning.values.losses import weighed
from deeprl.learning.values.masked import only
from deeprl.types import Batch, Term


class Cloning(PolicyAgent):
    """Agent for discrete or continuous actions: a policy, and no value.

    Args:
        optimizer: of all weights.
        others: as in `PolicyAgent`.
    """

    imitates = True
    hands_on: ClassVar = PolicyAgent

    def __init__(self, *, optimizer: Optimizer, **others):
        super().__init__(**others)
        self.objectives = {"policy": Objective.of(self.loss, [self.policy], optimizer)}

    def loss(self, batch: Batch) -> Term:
        """L; the error is −log π(a|s)."""
        batch = divided_batch(batch, self.spec)
        outputs = only(self.policy.outputs(self.normalize(batch.obs)), batch.extra.get("valid"))
        loss = -self.policy.log_prob(outputs, batch.action)
        metrics = {"train/policy_loss": loss, "train/entropy": self.policy.entropy(outputs)}
        return Term(weighed(loss, batch), metrics, error=loss.abs())
