"""Advantage-weighted actor-critic (Nair, Gupta, Dalal, Levine, AWAC: Accelerating Online RL with Offline Datasets, 2020), and the actor's
loss of IQL (agents/iql.py), which differs in where the advantage comes from.

    L_π = − mean w log π(a|s),     w = min( exp(β A(s, a)), limit ),     a of the data; w without a gradient

    AWAC   A = min_j Q_j(s, a) − min_j Q_j(s, ã),   ã ~ π(·|s)       β is 1/λ of the paper; the limit is that of the authors' later code
    IQL    A = min_j Q̄_j(s, a) − V(s)

No action that the policy proposes is climbed towards, so the actor stays where there are data. With β = 0 it is the cloning of behaviour by
its likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.extend import ActorView, Batch, Improvement, in_range


@dataclass(frozen=True)
class AdvantageWeighted(Improvement):
    """
    Args:
        beta: β, in units of one over values.
        limit: the largest weight.
    """

    beta: float = 1.0
    limit: float = 100.0

    needs = frozenset({"density"})

    def __post_init__(self):
        in_range(self, beta=(0, None), limit=(0, None))

    def loss(self, view: ActorView, batch: Batch) -> Tensor:
        likelihood = view.log_prob_of(batch.action)
        if not self.beta:  # the advantage is not asked for
            return -likelihood
        return -(self.beta * view.advantage()).exp().clamp(max=self.limit) * likelihood
