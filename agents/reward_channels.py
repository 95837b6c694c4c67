"""Reward channels of orchestrated value mapping (Fatemi, Tavakoli, ICLR 2022): finer splits than the one by sign.

Every scheme gives Σ_c λ_c r_c = r, cut off at the largest edge, with all r_c in [0, 1]. Names of the released code are in parentheses; its
`polar` is the paper's Equation 13, `config_1` and `config_2` are its Configurations 1 and 2. Numbers: docs/algorithms/loglin_dqn.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.transforms.channels import Channels


class Bands(Channels):
    """Split into bands of size: a reward counts in its own band only, divided by the upper edge of that band, λ_i = 10^i (released
    `config_1`).

    Band 0 is [0, 1], band i is (10^(i−1), 10^i]; the last band has no upper end, and its channel is cut off at 1.

    Args:
        count: number of bands for each sign; 1 is `Polar`.
        base: ratio of successive edges, 10 in the paper.
    """

    def __init__(self, *, count: int = 3, base: float = 10.0):
        self.count, self.base = count, base
        in_range(self, count=(1, None), base=(1, None))
        if base == 1:
            raise ValueError("base must be above 1, or bands have no width")
        self.edges = tuple(base**i for i in range(count))
        super().__init__(self.edges)

    def split(self, size: Tensor) -> Tensor:
        bands = []
        for i, edge in enumerate(self.edges):
            lower = size > self.edges[i - 1] if i else size >= 0
            inside = lower & (size <= edge) if i < self.count - 1 else lower
            bands.append(torch.where(inside, (size / edge).clamp(max=1), 0.0))
        return torch.stack(bands)


class Layers(Bands):
    """Split into layers: a reward fills the bands from below, each divided by its width, λ = 1, 9, 90, 900 (released `config_2`).

    Channel i is min(w_i, max(r − 10^(i−1), 0)) / w_i. The released code subtracts the edge also from rewards below it, which gives −1/9 in
    every inactive channel; this code does not.
    """

    def __init__(self, *, count: int = 3, base: float = 10.0):
        super().__init__(count=count, base=base)
        self.lower = (0.0, *self.edges[:-1])
        self.widths = tuple(edge - lower for edge, lower in zip(self.edges, self.lower))
        self.scales = (*self.widths, *(-width for width in self.widths))

    def split(self, size: Tensor) -> Tensor:
        return torch.stack([((size - lower) / width).clamp(0, 1) for lower, width in zip(self.lower, self.widths)])


class Ensemble(Channels):
    """Several copies of the split by sign; their mean acts, λ = ±1/copies (released `two_ensemble_polar` has two copies).

    Args:
        rewards: "whole", so that Σ λ r is the reward, or "divided" by `copies` as in the released code, so that values are too small by
            that factor.
    """

    def __init__(self, *, copies: int = 2, bound: float = 1.0, rewards: str = "whole"):
        self.copies, self.bound, self.rewards = copies, bound, rewards
        in_range(self, copies=(1, None), bound=(0, None))
        if bound == 0:
            raise ValueError("bound must be above 0, not 0, at which every reward is 0")
        one_of(self, rewards=("whole", "divided"))
        super().__init__((1.0 / copies,) * copies)

    def split(self, size: Tensor) -> Tensor:
        share = size.clamp(max=self.bound) / (self.copies if self.rewards == "divided" else 1)
        return share.expand(self.copies, *size.shape)
