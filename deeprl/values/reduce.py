"""Reductions of an ensemble of E critics to one value: (K, E, *B, N) -> Returns of (K, *B, N')."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.choice import Choice
from deeprl.values.returns import Returns


class Reduction(Choice):
    """Reduction of an ensemble, (K, E, *B, N) -> `Returns`."""

    first_only = False
    """Whether only the first critic has to be evaluated."""

    def __call__(self, atoms: Tensor) -> Returns:
        raise NotImplementedError


@dataclass(frozen=True)
class First(Reduction):
    """The first critic alone, because TD3's actor maximises Q₁ only."""

    first_only = True

    def __call__(self, atoms: Tensor) -> Returns:
        return Returns(atoms[:, 0])


@dataclass(frozen=True)
class Minimum(Reduction):
    """For each sample, the critic with the lowest mean (clipped double Q, Fujimoto et al., 2018)."""

    def __call__(self, atoms: Tensor) -> Returns:
        if atoms.shape[-1] == 1:
            return Returns(atoms.amin(1))
        lowest = atoms.mean(-1).argmin(1)  # (K, *B)
        index = lowest[:, None, ..., None].expand(*atoms[:, :1].shape)
        return Returns(atoms.gather(1, index).squeeze(1))


@dataclass(frozen=True)
class Mean(Reduction):
    """The atoms of all critics together; for scalar critics, their average."""

    def __call__(self, atoms: Tensor) -> Returns:
        if atoms.shape[-1] == 1:
            return Returns(atoms.mean(1))
        return Returns(atoms.movedim(1, -2).flatten(-2))
