"""Policies that follow from values, and what can be said of them. Pure functions over the axes (K, *B, A)."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy(values: Tensor) -> Tensor:
    """(K, *B, A) -> (K, *B) actions; ties go to the lowest index."""
    return values.argmax(-1)


def one_hot(values: Tensor) -> Tensor:
    """`greedy` as probabilities, (K, *B, A)."""
    return torch.zeros_like(values).scatter(-1, greedy(values).unsqueeze(-1), 1.0)


def epsilon_greedy(values: Tensor, epsilon: float) -> Tensor:
    """(..., A) -> probabilities (..., A) of the policy that is greedy but for a share `epsilon` of uniformly random actions."""
    return one_hot(values) * (1.0 - epsilon) + epsilon / values.shape[-1]


def boltzmann(values: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """π = softmax(values / τ) and τ ln π, both (K, *B, A).

    The maximum is subtracted before the division, so that neither large values nor a small τ cost digits. τ = 0 is the limit: the
    greedy policy, and τ ln π is the distance from the best value."""
    behind = values - values.amax(-1, keepdim=True)
    if not temperature:
        return one_hot(values), behind
    weight = (behind / temperature).exp()
    total = weight.sum(-1, keepdim=True)
    return weight / total, behind - temperature * total.log()


def action_gap(values: Tensor) -> Tensor:
    """(..., A) -> (...): the distance from the best value to the second."""
    best = values.topk(min(2, values.shape[-1]), -1).values
    return best[..., 0] - best[..., -1]


def policy_metrics(values: Tensor, policy: Tensor) -> dict[str, Tensor]:
    """What softness and sparsity show in, (K, *B) each: the share of actions with a probability above zero, the policy's (Shannon)
    entropy in nats, and the action gap."""
    return {
        "train/policy_support": (policy > 0).to(values.dtype).mean(-1),
        "train/policy_entropy": torch.special.entr(policy).sum(-1),
        "train/action_gap": action_gap(values),
    }
