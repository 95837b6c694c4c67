"""Distances between a prediction and its target. Pure functions of tensors, no reduction over the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def squared(error: Tensor) -> Tensor:
    """error², without ½, as the DQN implementations of Dopamine and i-QN have it."""
    return error * error


def huber(error: Tensor, threshold: float = 1.0) -> Tensor:
    """½ error² up to `threshold`, linear beyond; at threshold 1 its gradient is Nature DQN's error clipping."""
    inside = error.abs().clamp(max=threshold)
    return inside * (error.abs() - 0.5 * inside)


def average(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (K, *B) over the valid rows *B: (K,)."""
    flat, mask = values.flatten(1), valid.flatten().to(values.dtype)
    return (flat * mask).sum(-1) / mask.sum().clamp(min=1.0)


def over_valid(values: Tensor, valid: Tensor) -> Tensor:
    """(K, *B) scaled so that its mean over all rows is the mean over the valid ones; of batches without time, whose rows are all valid,
    the very tensor. For metrics, of which everybody takes plain means."""
    if valid.dim() < 2:
        return values
    return torch.where(valid, values, 0.0) * (valid.numel() / valid.sum().clamp(min=1))
