"""Sums along a rollout."""

from __future__ import annotations

import torch
from torch import Tensor


def goes_on(ended: Tensor) -> Tensor:
    """Whether row t + 1 of a rollout continues the episode of row t, (L, M) bool; false in the last row."""
    return torch.cat([~ended[:-1], torch.zeros_like(ended[-1:])])


def linear_recursion(add: Tensor, carry: Tensor) -> Tensor:
    """G_t = add_t + carry_t G_{t+1} along the axis before the last, with G = 0 behind its end; (..., L, M) -> (..., L, M).

    By doubling: after k passes each G_t has 2^k terms. A loop over L ticks would launch L operators.
    """
    length, reach = add.shape[-2], 1
    while reach < length:
        shorter = length - reach
        add = torch.cat([add[..., :shorter, :] + carry[..., :shorter, :] * add[..., reach:, :], add[..., shorter:, :]], -2)
        carry = torch.cat([carry[..., :shorter, :] * carry[..., reach:, :], torch.zeros_like(carry[..., shorter:, :])], -2)
        reach *= 2
    return add
