"""Values in mapped units, and the conversion to ordinary units: the arithmetic of `deeprl.learning.values.mapping`. Axes (K, C, *B, A)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deeprl.learning.values.losses import squared
from deeprl.learning.values.mapping import Mapping
from deeprl.learning.values.returns import Returns, pick

CHANNEL_VALUES = "train/channel_values"


class Units(nn.Module):
    """Conversions between mapped and ordinary units of all reward channels. Axes (K, C, ...).

    Args:
        scales: (C,) λ.
        signed: whether values of a channel may be negative.
    """

    scales: Tensor
    offsets: Tensor

    def __init__(self, mapping: Mapping, scales: Sequence[float], signed: bool = False):
        super().__init__()
        self.mapping, self.dtype = mapping, getattr(torch, mapping.precision)
        limit = mapping.limit
        self.high = math.inf if limit is None else limit
        self.low = -self.high if signed else 0.0
        # not saved, because they follow from the configuration
        self.register_buffer("scales", torch.tensor(scales, dtype=self.dtype), persistent=False)
        self.register_buffer("offsets", mapping.offsets(scales).to(self.dtype), persistent=False)

    def ordinary(self, mapped: Tensor) -> Tensor:
        """Q_c, values in ordinary units, (K, C, ...) -> (K, C, ...), in `mapping.precision`."""
        return self.mapping.inverse(mapped.to(self.dtype) + along_channels(self.offsets, mapped))

    def mapped(self, value: Tensor) -> Tensor:
        """Q̃_c, values in mapped units, (K, C, ...) -> (K, C, ...)."""
        return self.mapping.forward(value) - along_channels(self.offsets, value)

    def total(self, value: Tensor) -> Tensor:
        """(K, C, ...) -> (K, ...): Σ_c λ_c Q_c"""
        return (along_channels(self.scales, value) * value).sum(1)

    def clipped_bootstrap(self, value: Tensor) -> Tensor:
        """Values as targets use them, (K, C, ...) -> (K, C, ...), cut off if `clip_bootstrap` is true."""
        return value.clamp(self.low, self.high) if self.mapping.clip_bootstrap else value

    def regression_target(self, value: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Regression target f(U) in mapped units, (K, C, ...), and the error Σ_c λ_c (T_c − Q_c) in ordinary units, (K, ...). `value` and
        `target` are (K, C, ...)."""
        mapping = self.mapping
        if mapping.clip_target:
            target = target.clamp(max=self.high)
        if mapping.floor_on == "target":
            target = mapping.floored(target)
        if mapping.clip_prediction:
            value = value.clamp(self.low, self.high)
        average = torch.lerp(value, target.to(value.dtype), mapping.averaging)
        if mapping.floor_on == "average":
            average = mapping.floored(average)
        return self.mapped(average), self.total(target - value)


def along_channels(vector: Tensor, like: Tensor) -> Tensor:
    """(C,) -> (C, 1, ...), to broadcast against (K, C, ...)."""
    return vector.reshape(-1, *[1] * (like.dim() - 2))


class MappedValues:
    """`Values` of C channels in mapped units.

    Args:
        mapped: Q̃, (K, C, *B, A), or (K, C, *B) after `at`.
        units: conversion of Q̃ to ordinary units.
        distance, features: as in `ScalarValues`.
    """

    def __init__(self, mapped: Tensor, units: Units, distance=squared, features: Tensor | None = None):
        self.mapped, self.units, self.distance = mapped, units, distance
        self.features: Tensor = features  # type: ignore[assignment]  # None in a table

    def mean(self) -> Tensor:
        return self.units.total(self.units.ordinary(self.mapped))

    def expect(self, policy: Tensor) -> Returns:
        """Atoms (K, C, *B, 1): values of the same actions in each channel."""
        value = self.units.clipped_bootstrap(self.units.ordinary(self.mapped))
        if value.shape[-1] == 1:
            return Returns(value)
        policy = policy.unsqueeze(1)
        if policy.dtype == torch.int64:
            index = policy.unsqueeze(-1).expand(*value.shape[:-1], 1)
            return Returns(value.gather(-1, index))
        return Returns((value * policy).sum(-1, keepdim=True))

    def at(self, action: Tensor) -> MappedValues:
        return MappedValues(pick(self.mapped, action), self.units, self.distance, self.features)

    def entries(self, entries: slice) -> MappedValues:
        return MappedValues(self.mapped[entries], self.units, self.distance, self.features)

    def unflatten(self, lead: torch.Size) -> MappedValues:
        return MappedValues(self.mapped.unflatten(2, lead), self.units, self.distance, self.features.unflatten(1, lead))

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        """Loss in mapped units, |error| in ordinary ones, both (K, *B)."""
        with torch.no_grad():
            returns = target.mean()
            assert returns.shape == self.mapped.shape, f"target {tuple(returns.shape)} and prediction {tuple(self.mapped.shape)} differ"
            regressed, error = self.units.regression_target(self.units.ordinary(self.mapped), returns)
            regressed, error = regressed.to(self.mapped.dtype), error.to(self.mapped.dtype)
        return self.distance(regressed - self.mapped).sum(1), error.abs()

    def metrics(self, target: Returns) -> dict[str, Tensor]:
        """Values of each channel if there are several, (K, C, *B) in ordinary units, not multiplied by λ."""
        return {CHANNEL_VALUES: self.units.ordinary(self.mapped.detach())} if self.mapped.shape[1] > 1 else {}
