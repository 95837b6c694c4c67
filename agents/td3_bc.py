"""TD3+BC (Fujimoto, Gu, A Minimalist Approach to Offline Reinforcement Learning, 2021): the actor stays near the actions of the data.

    L_π = mean_D (π(s) − a)² − λ Q_1(s, π(s)),     λ = α / mean_b |Q_1(s, π(s))|, without a gradient

The paper writes the negative of it. A factor on all rewards changes nothing, because λ divides by the size of the values.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.extend import ActorView, Batch, Improvement, average, in_range


@dataclass(frozen=True)
class NearTheData(Improvement):
    """
    Args:
        alpha: α, weight of the value; 0 is the cloning of behaviour.
    """

    alpha: float = 2.5

    def __post_init__(self):
        in_range(self, alpha=(0, None))

    def loss(self, view: ActorView, batch: Batch) -> Tensor:
        value = view.value
        size = average(value.detach().abs().unsqueeze(0), batch.valid)
        return (view.action - batch.action).square().mean(-1) - self.alpha / size.clamp(min=1e-8) * value
