"""Rewards in C channels, r = Σ_c λ_c r_c with every r_c ≥ 0. The replay splits each reward before it sums n of them.

The split by sign is here, because several papers use it; `agents/reward_channels.py` has finer ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.choice import bounds_above_zero
from deeprl.learning.transforms.rewards import Raw


class Channels(Raw):
    """Channels of positive and of negative rewards, by the same split of their size. Subclasses define `split` and the λ of the positive
    half.

    Args:
        weights: λ of the positive channels; the negative channels follow, with −λ.
    """

    offers = frozenset({"nonnegative"})

    def __init__(self, weights: tuple[float, ...]):
        super().__init__()
        self.scales = (*weights, *(-weight for weight in weights))

    @property
    def channels(self) -> int:
        return len(self.scales)

    def split(self, size: Tensor) -> Tensor:
        """Sizes (...) of rewards, at least 0, into (C / 2, ...)."""
        raise NotImplementedError

    def forward(self, reward: Tensor) -> Tensor:
        """(...) -> (C, ...)"""
        return torch.cat([self.split(reward.clamp(min=0)), self.split((-reward).clamp(min=0))])


def channel_scales(rewards: Callable) -> tuple[float, ...]:
    """λ of each channel; plain rewards are one channel with λ = 1."""
    return getattr(rewards, "scales", (1.0,))


def check_single(rewards: Callable) -> None:
    """
    Raises:
        ValueError: there are several channels, or their λ is not 1.
    """
    if channel_scales(rewards) != (1.0,):
        raise ValueError("this agent takes rewards of one channel: agent/rewards=raw")


class Polar(Channels):
    """Split by sign, λ = (1, −1): channels min(bound, r⁺) and min(bound, r⁻).

    Args:
        bound: largest size of a reward, 1 in the papers on Atari; null: none.
    """

    def __init__(self, *, bound: float | None = 1.0):
        super().__init__((1.0,))
        self.bound = bound
        bounds_above_zero(self, "bound")

    def split(self, size: Tensor) -> Tensor:
        return size.clamp(max=self.bound).unsqueeze(0) if self.bound is not None else size.unsqueeze(0)
