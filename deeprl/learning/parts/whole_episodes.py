"""Whole episodes of one policy, with axes (T, N): step and episode. What agents that weigh trajectories read of a batch.

G_{i,t} = Σ_{l ≥ t} (γ^l / m_l) r_{i,l}                          m_t episodes are planned to be longer than t
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.learning.networks.policies import Policy
from deeprl.learning.values.masked import only
from deeprl.types import Batch


@dataclass(frozen=True)
class WholeEpisodes:
    """A batch of whole episodes.

    Args:
        batch: of `deeprl.replay.trajectories`, with normalised observations, and the mask of valid actions in `extra`.
    """

    batch: Batch

    def outputs(self, policy: Policy) -> Tensor:
        """Parameters of a policy, (T, N, outputs)."""
        found, valid = policy.outputs(self.batch.obs), self.batch.extra.get("valid")
        return only(found, valid)

    def log_prob(self, policy: Policy, outputs: Tensor | None = None) -> Tensor:
        """log π(a|s), (T, N) float64, 0 behind an end: a sum over a long episode would lose digits of float32."""
        outputs = self.outputs(policy) if outputs is None else outputs
        return torch.where(self.batch.valid, policy.log_prob(outputs, self.batch.action).double(), 0.0)

    @property
    def discount_powers(self) -> Tensor:
        """γ^t, (T,). A discount of 0 inside an episode, where a life was lost, only ends what bootstraps, and nothing does here."""
        discount = self.batch.discount.max().double()
        return torch.cat([torch.ones_like(discount)[None], discount.expand(len(self.batch.discount) - 1)]).cumprod(0)

    @property
    def discounted(self) -> Tensor:
        """γ^t r_t, (T, N)."""
        return self.discount_powers[:, None] * self.batch.reward

    @property
    def counts(self) -> Tensor:
        """m_t, (T, 1)."""
        return self.batch.extra["planned"].sum(1, keepdim=True).double()

    def returns(self, baseline: str = "none") -> Tensor:
        """G_{i,t}, (T, N).

        Args:
            baseline: what is taken from it: "none", or the mean of the "others" that are as long, which leaves the mean gradient.
        """
        found = (self.discounted / self.counts).flip(0).cumsum(0).flip(0)
        if baseline == "none":
            return found
        valid = self.batch.valid
        others = (valid.sum(1, keepdim=True) - 1).clamp(min=1)
        total = torch.where(valid, found, 0.0).sum(1, keepdim=True)
        return torch.where(valid.sum(1, keepdim=True) > 1, found - (total - found) / others, found)
