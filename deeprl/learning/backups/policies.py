"""Policies that follow from values, and their metrics. Pure functions over the axes (K, *B, A)."""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.learning.values.masked import INVALID


def greedy(values: Tensor) -> Tensor:
    """Greedy actions, (K, *B, A) -> (K, *B); the lowest index wins a tie."""
    return values.argmax(-1)


def one_hot(values: Tensor) -> Tensor:
    """`greedy` as probabilities, (K, *B, A)."""
    return torch.zeros_like(values).scatter(-1, greedy(values).unsqueeze(-1), 1.0)


def epsilon_greedy(values: Tensor, epsilon: float, valid: Tensor | None = None) -> Tensor:
    """Probabilities of the ε-greedy policy, (..., A) -> (..., A).

    Args:
        valid: (..., A) bool, the actions that it may explore; None: all.
    """
    if valid is None:
        return one_hot(values) * (1.0 - epsilon) + epsilon / values.shape[-1]
    share = epsilon / valid.sum(-1, keepdim=True).clamp(min=1).double()  # rounded once, as the number above is
    return one_hot(values) * (1.0 - epsilon) + valid * share.to(values.dtype)


def boltzmann(values: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """π = softmax(values / τ) and τ ln π, both (K, *B, A).

    The maximum is subtracted before the division, because large values or a small τ would lose digits otherwise. τ = 0 is the limit: the
    greedy policy, and τ ln π is the distance from the best value."""
    behind = values - values.amax(-1, keepdim=True)
    if not temperature:
        return one_hot(values), behind
    weight = (behind / temperature).exp()
    total = weight.sum(-1, keepdim=True)
    return weight / total, behind - temperature * total.log()


def action_gap(values: Tensor) -> Tensor:
    """Best value minus the second, (..., A) -> (...); 0 where only one action is valid."""
    best = values.topk(min(2, values.shape[-1]), -1).values
    return torch.where(best[..., -1] > INVALID / 2, best[..., 0] - best[..., -1], 0.0)


def policy_metrics(values: Tensor, policy: Tensor) -> dict[str, Tensor]:
    """Metrics of a soft or sparse policy, (K, *B) each: share of actions with a probability above zero, Shannon entropy in nats, and action
    gap."""
    return {
        "train/policy_support": (policy > 0).to(values.dtype).mean(-1),
        "train/policy_entropy": torch.special.entr(policy).sum(-1),
        "train/action_gap": action_gap(values),
    }
