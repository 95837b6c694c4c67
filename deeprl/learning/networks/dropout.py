"""Dropout in value networks (DroQ: Hiraoka and others, 2022). The mask of a layer is a function of a key, one random number for each
network of a stack, because masks drawn ahead as noise would take 50 times the memory of the batches.

    x ← relu(LN(m ⊙ (W x + b) / (1 − rate)))        m is 0 with probability `rate`, for each unit and row
"""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.learning.networks.mlp import MLP, linear

BITS = 31
"""Of keys and hashes. Products of two such numbers are exact in int64."""
SPREAD, FIRST, SECOND = 0x3C6EF373, 0x7FEB352D, 0x46CA68B5
"""Factors of the hash, odd, without other meaning."""


def hashed(key: Tensor, number: Tensor) -> Tensor:
    """Whole numbers in [0, 2^31) that look independent for different keys and numbers: two rounds of multiplication, each after a
    shift that brings the high bits to the low ones. Keys and numbers are int64 and broadcast, (n,), (n,) -> (n,) or (n, 1, 1), (B, F) ->
    (n, B, F)."""
    last = (1 << BITS) - 1
    x = (number * SPREAD + key) & last
    for shift, factor in ((16, FIRST), (15, SECOND)):
        x = ((x ^ (x >> shift)) * factor) & last
    return x ^ (x >> 16)


def dropped(x: Tensor, key: Tensor, layer: int, rate: float) -> Tensor:
    """Features with a share of about `rate` set to zero and the others divided by 1 − rate, (n, B, F) -> (n, B, F).

    Args:
        key: (n,) int64 in [0, 2^31).
        layer: number of the layer, because layers have different masks.
    """
    units = torch.arange(x.shape[1] * x.shape[2], device=x.device).view(x.shape[1:])
    own = hashed(key, torch.full_like(key, layer)).view(-1, 1, 1)
    return torch.where(hashed(own, units) >= rate * (1 << BITS), x * (1.0 / (1.0 - rate)), 0.0)


class DropoutMLP(MLP):
    """An MLP with dropout after each affine map, before normalisation and ReLU.

    Args:
        dropout: rate.
    """

    def __init__(self, n: int, sizes, *, dropout: float, **fields):
        super().__init__(n, sizes, **fields)
        self.dropout = dropout

    def noise(self, updates: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Keys of many evaluations, (updates, n)."""
        return {"key": torch.randint(1 << BITS, (updates, self.n), generator=generator)}

    def forward(self, x: Tensor, noise: dict[str, Tensor] | None = None) -> Tensor:
        if not noise:
            return super().forward(x)
        x = self.stacked(x)
        for i in range(self.depth):
            x = self.rest(i, dropped(linear(x, self.weight(i), getattr(self, f"bias_{i}")), noise["key"], i, self.dropout))
        return x
