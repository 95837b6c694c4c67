"""Ensemble-diversified actor-critic (EDAC; An, Moon, Kim, Song, Uncertainty-Based Offline Reinforcement Learning with Diversified
Q-Ensemble, 2021).

    L_Q  +=  η / (N − 1) · mean_b Σ_{i ≠ j} cos( ∇_a Q_i(s, a), ∇_a Q_j(s, a) )             a of the data

SAC-N, SAC with the minimum of N critics, is pessimistic where critics disagree. The term keeps their slopes apart, so that fewer do.
The pairs are ordered: of two critics it is twice the cosine. The critics' losses are summed, not averaged, and η is in units of that sum.
The gradients come from D forward derivatives, one for each dimension of the action, which give those of all critics at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.choice import in_range
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.parts.chains import Chain
from deeprl.learning.plan import Plan
from deeprl.learning.values.losses import average
from deeprl.learning.values.view import View
from deeprl.types import NO_TERM, QUIET, Batch, Term


def similarity(gradients: Tensor) -> Tensor:
    """1/(N − 1) Σ_{i≠j} cos of gradients, (K, N, *B, D) -> (K, *B)."""
    unit = gradients / (gradients.norm(dim=-1, keepdim=True) + 1e-10)
    total = unit.sum(1)  # Σ_{i≠j} u_i · u_j = |Σ u|² − Σ |u|²
    return (total.square().sum(-1) - unit.square().sum((1, -1))) / (gradients.shape[1] - 1)


class Diversity(Auxiliary):
    """
    Args:
        eta: η; 0 leaves the agent unchanged, bit for bit: SAC-N.
    """

    needs = frozenset({"actor", "single"})

    def __init__(self, *, plan: Plan, eta: float = 1.0):
        super().__init__(plan=plan)
        self.eta, self.dim = eta, plan.action_dim
        in_range(self, eta=(0, None))

    def bind(self, chain: Chain) -> None:
        self.ensemble, self.share = chain.online.ensemble, chain.share
        if self.eta and self.ensemble < 2:
            raise ValueError("agent.ensemble must be at least 2 beside agent/auxiliary=edac, which compares critics")

    def forward(self, online: View, target: View, batch: Batch) -> Term:
        if not self.eta:
            return NO_TERM
        found = similarity(self.slopes(online, batch).unflatten(0, (-1, self.ensemble)))  # (K, *B)
        return Term(self.eta * self.share * average(batch.weight * found, batch.valid).sum(), {"train/similarity": found})

    def slopes(self, online: View, batch: Batch) -> Tensor:
        """∇_a Q of all critics, (K·E, *B, D)."""
        x = batch.obs  # (*B, S + D)
        directions = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[-self.dim :]  # (D, S + D)
        lead = (self.dim, *x.shape[:-1])
        tangent = directions.view(self.dim, *([1] * (x.dim() - 1)), x.shape[-1]).expand(*lead, -1).contiguous()

        def values(pairs: Tensor) -> Tensor:
            return online.network(pairs, QUIET).mean().squeeze(-1)  # (K·E, D, *B)

        slopes = torch.func.jvp(values, (x.expand(*lead, -1).contiguous(),), (tangent,))[1]
        return slopes.movedim(1, -1)
