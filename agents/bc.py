"""Behaviour cloning (Pomerleau, 1991): a policy of the largest likelihood on the actions of the data.

    L = − mean log π(a|s)        discrete actions: cross-entropy; continuous ones: a Gaussian whose deviation is the same in every state

With a deviation held fixed the Gaussian's loss is the squared error, up to factor and constant; a learned one changes the size of the steps
alone. Rewards are not read, no value is learned. The squared error itself, of a policy bounded by tanh, is
`agent=td3_bc agent.improvement.alpha=0`.
"""

from __future__ import annotations

from collections.abc import Callable

from deeprl.choice import Part
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.policy_agent import PolicyAgent
from deeprl.learning.transforms.masks import divided_batch
from deeprl.learning.values.losses import over_valid, weighed
from deeprl.learning.values.masked import only
from deeprl.types import Batch, Spec, Term


class Cloning(PolicyAgent):
    """Agent for discrete or continuous actions: a policy, and no value.

    Args:
        spec, seed: spaces of the environment; seed of the initial weights.
        torso: choice of the policy's features.
        policy: choice that builds the policy.
        rewards, normalize: as in `ValueAgent`.
        optimizer: of all weights.

    Raises:
        ValueError: the torso has running averages.
    """

    imitates = True

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        torso: TorsoChoice,
        policy: PolicyChoice,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        optimizer: Optimizer,
    ):
        super().__init__(spec=spec, seed=seed, torso=torso, policy=policy, rewards=rewards, normalize=normalize)
        self.objectives = {"policy": Objective.of(self.loss, [self.policy], optimizer)}

    def loss(self, batch: Batch) -> Term:
        """L; the error is −log π(a|s)."""
        batch = divided_batch(batch, self.spec)
        outputs = only(self.policy.outputs(self.normalize(batch.obs)), batch.extra.get("valid"))
        loss = -self.policy.log_prob(outputs, batch.action)
        metrics = {"train/policy_loss": over_valid(loss, batch.valid), "train/entropy": self.policy.entropy(outputs)}
        return Term(weighed(loss, batch), metrics, error=loss.abs())
