"""Conservative Q-learning (Kumar, Zhou, Tucker, Levine, Conservative Q-Learning for Offline Reinforcement Learning, 2020): a term that
lowers the values of all actions and raises those of the data.

    L_Q  +=  weight · Σ_j mean [ log Σ_a exp Q_j(s, a) − Q_j(s, a_data) ]                    CQL(H); discrete actions: exact

With continuous actions the sum is an integral, estimated by importance sampling of 3 n actions:

    lse of   Q_j(s, u) + D log 2,  u uniform       Q_j(s, ã) − log π(ã|s),  ã ~ π(·|s)       Q_j(s, ã') − log π(ã'|s'),  ã' ~ π(·|s')

where the last are actions of the next state, valued at this one, and the constant − log 3n is left out, as in the authors' code and CORL's.
The term has no gradient to the policy, and reads critics without dropout. The Lagrangian form of the weight, which CORL's runs do not use,
is not here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deeprl.choice import counts, in_range
from deeprl.learning.networks.critics import pair
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.parts.chains import Chain
from deeprl.learning.parts.temperature import LearnedTemperature
from deeprl.learning.plan import Plan
from deeprl.learning.values.losses import average
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.view import View
from deeprl.types import NO_TERM, QUIET, Batch, Noise, Term


class Conservative(Auxiliary):
    """The exact term, of agents for discrete actions.

    Args:
        weight: factor of the term; 0 leaves the agent unchanged, bit for bit.
    """

    needs = frozenset({"actions"})

    def __init__(self, *, plan: Plan, weight: float = 1.0):
        super().__init__(plan=plan)
        self.weight, self.share = weight, 1.0
        in_range(self, weight=(0, None))

    def bind(self, chain: Chain) -> None:
        self.share = chain.share

    def forward(self, online: View, target: View, batch: Batch) -> Term:
        if not self.weight:
            return NO_TERM
        values = online.now.mean()  # (K, *B, A)
        return self.term(values.logsumexp(-1), online.now.at(batch.action).mean(), batch)

    def term(self, soft: Tensor, taken: Tensor, batch: Batch) -> Term:
        """weight · Σ mean (soft − taken): a mean over the batch; over the leading axis a sum, or what the agent's losses have there.

        Args:
            soft: log Σ_a exp Q(s, a), (K, *B), or (K·E, *B) of critics.
            taken: Q(s, a_data), of the same shape.
        """
        gap = soft - taken
        loss = average(batch.weight * gap, batch.valid).sum()
        return Term(self.weight * self.share * loss, {"train/conservative_gap": gap})


class SampledConservative(Conservative):
    """The sampled term, of agents with an actor.

    Args:
        weight: as above.
        actions: n of each kind.
    """

    needs = frozenset({"density", "single"})

    def __init__(self, *, plan: Plan, weight: float = 10.0, actions: int = 10):
        super().__init__(plan=plan, weight=weight)
        self.actions, self.dim = actions, plan.action_dim
        counts(self, actions=1)

    def noise(self, size: tuple[int, ...], generator) -> Noise:
        if not self.weight:  # nothing is drawn, so that the other parts draw the same numbers as without this term
            return {}
        shape = (*size, self.actions, self.dim)
        return {
            "uniform_actions": 2.0 * torch.rand(shape, generator=generator) - 1.0,
            "policy_actions": torch.randn(shape, generator=generator),
            "next_policy_actions": torch.randn(shape, generator=generator),
        }

    def forward(self, online: View, target: View, batch: Batch) -> Term:
        if not self.weight:
            return NO_TERM
        obs, next_obs = batch.obs[..., : -self.dim], batch.next_obs[..., : -self.dim]
        with torch.no_grad():
            actions, log_density = self.proposed(online, obs, next_obs, batch.noise)
        proposed = pair(obs.expand(*actions.shape[:-1], -1), actions)  # (3 n, *B, S + D)
        # one evaluation of both sides: beside values of another mode (batch statistics, dropout) the term would learn their difference
        values = online.network(torch.cat([proposed, batch.obs[None]]), QUIET).mean().squeeze(-1)  # (K·E, 3 n + 1, *B)
        soft = (values[:, :-1] - log_density).logsumexp(1)
        return self.term(soft, values[:, -1], batch)

    def proposed(self, online: View, obs: Tensor, next_obs: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Actions (3 n, *B, D), and the logarithms of the densities that they were drawn from, (3 n, *B)."""
        drawn = {name: noise[name].movedim(-2, 0) for name in ("uniform_actions", "policy_actions", "next_policy_actions")}
        uniform = drawn["uniform_actions"]
        ends = [(obs, drawn["policy_actions"]), (next_obs, drawn["next_policy_actions"])]
        sampled = [online.policy.sample(end.expand(*normal.shape[:-1], -1), normal) for end, normal in ends]
        flat = uniform.new_full(uniform.shape[:-1], -self.dim * math.log(2.0))
        return torch.cat([uniform, *(action for action, _ in sampled)]), torch.cat([flat, *(log_prob for _, log_prob in sampled)])


class ActorTemperature(LearnedTemperature):
    """α of the actor's loss alone: targets have no entropy, as in the authors' code, CORL and d3rlpy by default."""

    def add_entropy(self, future: Returns, log_prob: Tensor | None) -> Returns:
        return future
