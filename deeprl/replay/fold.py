"""n-step returns from windows of rows. Pure functions of tensors.

m = steps from t up to and including the first terminated or ended one, at most n, at most up to the newest row
reward = Σ_{k<m} γ^k rewards(r_{t+k})      discount = γ^m (1 - terminated_{t+m-1})
"""

from __future__ import annotations

import torch
from torch import Tensor


def span(continues: Tensor, real: Tensor) -> Tensor:
    """Mask of the rows of a window that belong to its transition: (B, n), ones and then zeros.

    Args:
        continues, real: (B, n), 1 or 0: the step is not terminated; the row is a transition. The row after an episode's end is not one.
    """
    goes_on = continues[:, :-1] * real[:, 1:]  # from step k to step k + 1
    return torch.cat((torch.ones_like(continues[:, :1]), goes_on.cumprod(1)), 1)


def within(flag: Tensor, in_window: Tensor | None) -> Tensor:
    """Whether a flag is set at a step of each transition, (B,) bool.

    Args:
        flag: (B, n), 1 or 0; (B,) if n is 1.
        in_window: (B, n) from `span`; None if n is 1.
    """
    return (flag if in_window is None else (flag * in_window).sum(1)) > 0


def fold(reward: Tensor, continues: Tensor, in_window: Tensor, powers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """n-step sums over windows of rows.

    Args:
        reward: (..., B, n), already transformed.
        continues: (B, n), 0 where terminated.
        in_window: (B, n) from `span`.
        powers: (n + 1,) γ^0 ... γ^n.

    Returns:
        reward (..., B), discount (B,), steps (B,) int64.
    """
    steps = in_window.sum(1).long()
    # at most one row has a termination, because a window stops there
    bootstrap = 1.0 - (in_window * (1.0 - continues)).sum(1)
    # where, not a product, because a transform may give infinite rewards behind the window
    earned = torch.where(in_window > 0, reward * powers[:-1], 0.0).sum(-1)
    return earned, powers[steps] * bootstrap, steps
