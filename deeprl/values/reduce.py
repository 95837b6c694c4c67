"""What an ensemble of E critics says together: (K, E, *B, N) -> Returns of (K, *B, N')."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.choice import Choice
from deeprl.values.returns import Returns


class Reduction(Choice):
    """(K, E, *B, N) -> `Returns`."""

    first_only = False
    """Whether the other critics need not be evaluated."""

    def __call__(self, atoms: Tensor) -> Returns:
        raise NotImplementedError


@dataclass(frozen=True)
class First(Reduction):
    """The first critic alone: TD3's actor climbs Q₁ only."""

    first_only = True

    def __call__(self, atoms: Tensor) -> Returns:
        return Returns(atoms[:, 0])


@dataclass(frozen=True)
class Minimum(Reduction):
    """For each sample, the critic with the lower mean (clipped double Q, Fujimoto et al., 2018)."""

    def __call__(self, atoms: Tensor) -> Returns:
        if atoms.shape[-1] == 1:
            return Returns(atoms.amin(1))
        lowest = atoms.mean(-1).argmin(1)  # (K, *B)
        index = lowest[:, None, ..., None].expand(*atoms[:, :1].shape)
        return Returns(atoms.gather(1, index).squeeze(1))


@dataclass(frozen=True)
class Mean(Reduction):
    """All critics' atoms pooled; of scalar critics, the average."""

    def __call__(self, atoms: Tensor) -> Returns:
        if atoms.shape[-1] == 1:
            return Returns(atoms.mean(1))
        return Returns(atoms.movedim(1, -2).flatten(-2))
