"""Values of few steps of value iteration, from the returns of random play (SQIRL: Laidlaw, Zhu, Russell, Dragan, 2024).

Q¹(s, a)      <- G_t = Σ_{l ≥ t} γ^{l−t} r_l
Q^{j+1}(s, a) <- r + γ (1 − end) max_b Q^j(s', b)                       j < k
"""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.learning.networks.actors import OutputNetwork
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.types import Batch, Spec


def returns_to_go(reward: Tensor, discount: Tensor) -> Tensor:
    """G (T, *B): rewards from each step to the end of its episode.

    Args:
        reward, discount: (T, *B); the discount is 0 at an end.
    """
    found, after = torch.empty_like(reward), torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        found[t] = after = reward[t] + discount[t] * after
    return found


def continuing(batch: Batch) -> Tensor:
    """The discount, 0 at every end."""
    return torch.where(batch.ended, 0.0, batch.discount)


def depth_targets(returns: Tensor, reward: Tensor, discount: Tensor, values: Tensor) -> Tensor:
    """What Q¹ … Q^k are regressed on, (*B, k).

    Args:
        returns: G of random play, (*B).
        reward, discount: (*B); the discount is 0 at an end.
        values: Q¹ … Q^{k−1} of the next observation, (*B, k - 1, A).
    """
    later = reward.unsqueeze(-1) + discount.unsqueeze(-1) * values.amax(-1)
    return torch.cat([returns.unsqueeze(-1), later], -1)


def running_mean(mean: Tensor, now: Tensor, smoothing: float) -> Tensor:
    """mean ← smoothing · mean + (1 − smoothing) · now, from now where it is 0; at least 1e-8, because it divides."""
    return torch.where(mean > 0, torch.lerp(now, mean, smoothing), now).clamp(min=1e-8)


class DepthValues(OutputNetwork):
    """Q¹ … Q^k of one network, (*B, *obs) -> (*B, k, A)."""

    def __init__(self, spec: Spec, torso: TorsoChoice, depth: int):
        super().__init__(spec, torso, depth * spec.num_actions, None, unit=False)
        self.depth = depth

    def forward(self, obs: Tensor) -> Tensor:
        return self.outputs(obs).unflatten(-1, (self.depth, -1))
