"""Multi-level Monte Carlo actor-critic for the average reward (MAC; Suttle and others, 2023), which needs no mixing time as an input.

    J ~ Geom(½);  N = 2^J steps if J ≤ L, else 1, of the same trajectory;   δ = r − η + V(s') − V(s)
    g = ḡ_1 + 1(J ≤ L) 2^J (ḡ_{2^J} − ḡ_{2^(J−1)})               ḡ_n: mean over the first n steps;  E g = E ḡ_{2^L}
    terms of g:  η: r − η     V: δ ∇V(s)     π: δ ∇log π(a|s)     each stepped by an AdaGrad of its own: θ ← θ + lr g / √Σ‖g‖²

g is linear in the terms of single steps, so the source gives each its weight: agents/multilevel.py. There is no discount, and a
termination means nothing: the task goes on.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from deeprl.learning.networks.actors import OutputNetwork
from deeprl.learning.networks.weight_norm import initialise_with_gains
from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.policy_agent import PolicyAgent
from deeprl.learning.transforms.channels import check_single
from deeprl.learning.transforms.masks import without_mask
from deeprl.learning.values.masked import only
from deeprl.types import Batch, Spec, Term


class Gain(nn.Module):
    """η, ()."""

    def __init__(self):
        super().__init__()
        self.eta = nn.Parameter(torch.zeros(()), requires_grad=False)


class MAC(PolicyAgent):
    """Agent for discrete or continuous actions: a policy, a differential value of states, and the average reward.

    Args:
        optimizer, value_optimizer, rate_optimizer: of the policy, the value, and η.
        others: as in `PolicyAgent`.
    """

    needs = frozenset({"consecutive"})
    need_words = {"consecutive": "consecutive steps of one policy, weighed by levels"}  # noqa: RUF012
    hands_on: ClassVar = PolicyAgent

    def __init__(self, *, spec: Spec, seed: int, optimizer: Optimizer, value_optimizer: Optimizer, rate_optimizer: Optimizer, **others):
        super().__init__(spec=spec, seed=seed, **others)
        check_single(self.rewards)
        self.value, self.rate = OutputNetwork(without_mask(spec), self.torso, 1, "orthogonal", unit=False), Gain()
        initialise_with_gains(self.value, seed, "value", self.torso.weight_norm)
        groups = [(list(self.value.parameters()), value_optimizer), (list(self.rate.parameters()), rate_optimizer)]
        self.objectives = {"policy": Objective.of(self.loss, [self.policy], optimizer, groups)}

    def evaluated(self, obs: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy.outputs(obs), self.value.outputs(obs).squeeze(-1)

    def state_value(self, obs: Tensor, learned: Tensor) -> None:
        """Differential values are no returns."""

    def loss(self, batch: Batch) -> Term:
        """A number whose gradient is −g; the error is |δ|."""
        obs, valid = self.seen(batch.obs)
        outputs, value = self.evaluated(obs)
        outputs = only(outputs, valid)
        with torch.no_grad():
            surplus = batch.reward - self.rate.eta
            delta = surplus + self.evaluated(self.seen(batch.next_obs)[0])[1] - value
        terms = surplus * self.rate.eta + delta * value + delta * self.policy.log_prob(outputs, batch.action)
        metrics = {"train/average_reward": self.rate.eta, "train/values": value, "train/entropy": self.policy.entropy(outputs)}
        return Term(-(batch.weight * terms).sum(), metrics, error=delta.abs())
