"""Reductions of an ensemble of E critics to one value: atoms (K, E, *B, N) -> (K, *B, N')."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import Choice, counts
from deeprl.learning.values.returns import Returns


class Reduction(Choice):
    """Reduction of an ensemble."""

    first_only = False
    """Whether only the first critic has to be evaluated."""

    def noise(self, updates: int, ensemble: int, generator) -> dict[str, Tensor]:
        """Random numbers for `updates` updates: nothing, or "subset"."""
        return {}

    def __call__(self, values: Returns, noise: dict[str, Tensor]) -> Returns:
        """
        Args:
            values: atoms (K, E, *B, N).
            noise: entries of `noise` for this update; in evaluation none.
        """
        raise NotImplementedError


def applied(values: Returns, function: Callable[[Tensor], Tensor]) -> Returns:
    """Apply a function to atoms (K, E, *B, N) and to probabilities of this shape alike."""
    return Returns(function(values.atoms), None if values.probs is None else function(values.probs))


@dataclass(frozen=True)
class First(Reduction):
    """The first critic alone, because TD3's actor maximises Q₁ only."""

    first_only = True

    def __call__(self, values: Returns, noise: dict[str, Tensor]) -> Returns:
        return applied(values, lambda x: x[:, 0])


@dataclass(frozen=True)
class Minimum(Reduction):
    """For each sample, the critic with the lowest mean (clipped double Q, Fujimoto et al., 2018)."""

    def __call__(self, values: Returns, noise: dict[str, Tensor]) -> Returns:
        if values.atoms.shape[-1] == 1:
            return Returns(values.atoms.amin(1))
        lowest = values.mean().argmin(1)[:, None, ..., None]  # (K, 1, *B, 1)
        return applied(values, lambda x: x.gather(1, lowest.expand(*x[:, :1].shape)).squeeze(1))


@dataclass(frozen=True)
class Mean(Reduction):
    """The mixture of all critics, each with the same weight; for scalar critics, their average."""

    def __call__(self, values: Returns, noise: dict[str, Tensor]) -> Returns:
        if values.atoms.shape[-1] == 1:
            return Returns(values.atoms.mean(1))
        pooled = applied(values, pool)
        return pooled if pooled.probs is None else pooled._replace(probs=pooled.probs / values.atoms.shape[1])


@dataclass(frozen=True)
class QuantileMean(Reduction):
    """Each quantile averaged over the critics (BRO: Nauman and others, 2024). It has the mean of the mixture and is narrower."""

    needs = frozenset({"quantiles"})

    def __call__(self, values: Returns, noise: dict[str, Tensor]) -> Returns:
        return Returns(values.atoms.mean(1))


@dataclass(frozen=True)
class Subset(Reduction):
    """`Minimum` over `size` critics, drawn without replacement at every update (REDQ: Chen, Wang, Zhou, Ross, 2021)."""

    size: int = 2

    def __post_init__(self):
        counts(self, size=1)

    def noise(self, updates: int, ensemble: int, generator) -> dict[str, Tensor]:
        return {"subset": torch.rand((updates, ensemble), generator=generator)}

    def __call__(self, values: Returns, noise: dict[str, Tensor]) -> Returns:
        ensemble = values.atoms.shape[1]
        if self.size > ensemble:
            raise ValueError(f"size of the reduction must be at most agent.ensemble={ensemble}, not {self.size}")
        drawn = noise["subset"].argsort()[: self.size] if noise else torch.arange(self.size, device=values.atoms.device)
        return Minimum()(applied(values, lambda x: x.index_select(1, drawn)), {})


@dataclass(frozen=True)
class Truncate(Reduction):
    """All atoms of all critics together without the E·d largest (TQC: Kuznetsov, Shvechikov, Grishin, Vetrov, 2020).

    Args:
        drop: d. The E·d largest of all atoms are dropped; how many of them come from one critic is not fixed.
    """

    needs = frozenset({"quantiles"})

    drop: int = 2

    def __post_init__(self):
        counts(self, drop=0)

    def __call__(self, values: Returns, noise: dict[str, Tensor]) -> Returns:
        ensemble, atoms = values.atoms.shape[1], values.atoms.shape[-1]
        if self.drop >= atoms:
            raise ValueError(f"drop of the reduction must be below the number of atoms of a critic, {atoms}, not {self.drop}")
        return Returns(pool(values.atoms).sort(-1).values[..., : ensemble * (atoms - self.drop)])


def pool(x: Tensor) -> Tensor:
    """(K, E, *B, N) -> (K, *B, E·N)"""
    return x.movedim(1, -2).flatten(-2)
