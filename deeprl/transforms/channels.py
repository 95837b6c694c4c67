"""Rewards in C channels, r = Σ_c λ_c r_c with every r_c ≥ 0. The replay splits each reward before it sums n of them.

At least two papers share the split by sign, so it lives here; `agents/value_mapping.py` has finer ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.choice import in_range
from deeprl.transforms.rewards import Raw


class Channels(Raw):
    """The same split of what counts for and of what counts against; subclasses say `split` and the λ of one half.

    Args:
        weights: λ of the channels that count for; those that count against follow, negated.
    """

    offers = frozenset({"nonnegative"})

    def __init__(self, weights: tuple[float, ...]):
        super().__init__()
        self.scales = (*weights, *(-weight for weight in weights))

    @property
    def channels(self) -> int:
        return len(self.scales)

    def split(self, size: Tensor) -> Tensor:
        """Amounts (...), at least 0, into (C / 2, ...)."""
        raise NotImplementedError

    def forward(self, reward: Tensor) -> Tensor:
        """(...) -> (C, ...)"""
        return torch.cat([self.split(reward.clamp(min=0)), self.split((-reward).clamp(min=0))])


def channel_scales(rewards: Callable) -> tuple[float, ...]:
    """λ of each channel; of plain rewards one, which is 1."""
    return getattr(rewards, "scales", (1.0,))


class Polar(Channels):
    """By sign, λ = (1, −1): min(bound, r⁺) and min(bound, r⁻).

    Args:
        bound: 1 in the papers on Atari; null: none.
    """

    def __init__(self, *, bound: float | None = 1.0):
        super().__init__((1.0,))
        self.bound = bound
        if bound is not None:
            in_range(self, bound=(0, None))

    def split(self, size: Tensor) -> Tensor:
        return size.clamp(max=self.bound).unsqueeze(0) if self.bound is not None else size.unsqueeze(0)
