"""Implicit Q-learning (Kostrikov, Nair, Levine, Offline Reinforcement Learning with Implicit Q-Learning, 2022).

    L_V = mean |τ − 1(u < 0)| u²,       u = min_j Q̄_j(s, a) − V(s)            a of the data
    y   = r + γ (1 − d) V(s')                                                  no action of the policy is valued
    L_π = − mean min( exp(β u), 100 ) log π(a|s)                              agents/awac.py

V is an expectile: with τ = ½ the mean of the data's values, towards 1 their maximum. Order of an update: V, critics, actor, targets. The
actor reads Q̄ and the V of this update, so it does not matter that the authors step it before the critics; the critics' loss is the sum over
both, where theirs is the mean of it. The actor's deviation is the same in every state, with tanh on its mean alone, and its learning rate
falls along a cosine to 0, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from deeprl.extend import Batch, Objective, Plan, Returns, StateValue, Term, average, in_range
from deeprl.learning.networks.blocks import has_dropout, has_statistics


def expectile(u: Tensor, tau: float) -> Tensor:
    """|τ − 1(u < 0)| u², of any shape."""
    return torch.where(u < 0, 1.0 - tau, tau) * u.square()


class Expectile(StateValue):
    """V has no entropy, so that a temperature acts on the actor's loss alone, as that of `agent/temperature=actor_alone` does.

    Args:
        tau: τ; ½ is the regression on the mean, of half the size.
    """

    replaces_next_action = True
    needs = frozenset({"single"})

    def __init__(self, *, plan: Plan, tau: float = 0.7):
        super().__init__(plan=plan)
        self.tau = tau
        in_range(self, tau=(0, 1))
        self.network = plan.observed("state_value", 1, 1, 1)
        torso = self.network.torso
        if has_statistics(torso) or has_dropout(torso):
            remedy = "choose another agent/torso" if has_statistics(torso) else "set agent.torso.dropout=0"
            raise ValueError(
                f"V of agent/state_value=expectile goes with neither running averages nor dropout, as {type(torso).__name__} has: {remedy}"
            )
        self.optimizer = plan.optimizer

    def forward(self, observed: Tensor) -> Tensor:
        return self.network(observed).mean()[0].squeeze(-1)

    def objectives(self, taken: Callable[[Batch], tuple[Tensor, Batch]]) -> dict[str, Objective]:
        return {"state_value": Objective.of(lambda batch: self.loss(*taken(batch)), [self.network], self.optimizer)}

    def loss(self, taken: Tensor, batch: Batch) -> Term:
        """L_V, for Q̄(s, a), (*B,); the error is |u|."""
        value = self(batch.extra["observed"])
        u = taken - value
        loss = expectile(u, self.tau)
        metrics = {"train/state_value_loss": loss, "train/state_values": value}
        return Term(average((batch.weight * loss).unsqueeze(0), batch.valid).sum(), metrics, error=u.abs())

    def future(self, of_policy: Callable[[], Returns], batch: Batch, iterations: int) -> Returns:
        """V(s') in each of the K targets."""
        return Returns(self(batch.extra["next_observed"]).expand(iterations, *batch.discount.shape).unsqueeze(-1))

    def advantage(
        self, batch: Batch, action: Tensor, value_of: Callable[[Tensor], Tensor], taken: Callable[[Batch], tuple[Tensor, Batch]]
    ) -> Tensor:
        """Q̄(s, a) − V(s)"""
        value, batch = taken(batch)
        return value - self(batch.extra["observed"])

    def networks(self) -> dict[str, nn.Module]:
        return {"state_value": self.network}
