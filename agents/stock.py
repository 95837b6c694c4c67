"""DηN and other agents that prefer more than the mean (Ávila Pires, Rowland and others, JMLR 2025): what they maximise.

    CVaR_τ           E f(c + Z),   f(x) = min(x, 0) / τ                                   (Rockafellar and Uryasev)
    mean-variance    E f(c + Z),   f(x) = x − w x² up to 1 / (2 w), then 1 / (4 w)        E X − w Var X, while X − E X ≤ 1 / (2 w)
    target g         E f(c + Z),   f(x) = −|x|                                            c_0 = −g
    entropic         −(1 / b) ln E e^(−b Z)                                               the stock drops out

With γ < 1 a utility must order γᵗ X as it orders X: the first and the third functions are positively homogeneous, the others need γ = 1.
The paper's functions of vectors are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.agents.stocked import StaticRisk, Stocked
from deeprl.choice import in_range
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.utility import Utility


def undiscounted(owner: MeanVarianceUtility | ExponentialUtility) -> None:
    """
    Raises:
        ValueError: it is no number; or returns are discounted, and the utility of a scaled return is not the scaled utility.
    """
    in_range(owner, discount=(0, 1))
    if owner.discount != 1:
        raise ValueError(
            f"discount must be 1 with agent/utility={type(owner).__name__}, not {owner.discount:g}, because it orders discounted returns "
            "differently: set discount=1"
        )


@dataclass(frozen=True, kw_only=True)
class CVaRUtility(StaticRisk):
    """Static CVaR of the total return: the mean of its worst share. The stock carries the budget −c that is left.

    Args:
        tau: that share; 1 is the mean, as long as no total is above −c_0.
    """

    tau: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, tau=(1e-6, 1))

    def of_total(self, total: Tensor) -> Tensor:
        return total.clamp(max=0.0) / self.tau


@dataclass(frozen=True, kw_only=True)
class MeanVarianceUtility(StaticRisk):
    """Mean less a multiple of the variance, where no total is far above the mean.

    Args:
        price: w, of the variance.
        discount: γ, which must be 1.
    """

    discounts = False

    price: float = 0.5
    discount: float = 1.0
    of_run: ClassVar[tuple[str, ...]] = ("discount",)

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, price=(1e-6, None))
        undiscounted(self)

    def of_total(self, total: Tensor) -> Tensor:
        total = total.clamp(max=0.5 / self.price)
        return total - self.price * total.square()


@dataclass(frozen=True, kw_only=True)
class TargetReturn(Stocked):
    """Totals near a target: −E |c + Z|.

    Args:
        target: g, of evaluation; None: the environment's first stock says it, c_0 = −g.
    """

    target: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target is not None:
            in_range(self, target=(None, None))

    @property
    def candidates(self) -> Tensor | None:
        return None if self.target is None else torch.tensor([-float(self.target)])

    def of_total(self, total: Tensor) -> Tensor:
        return -total.abs()


@dataclass(frozen=True)
class ExponentialUtility(Utility):
    """Exponential utility, −(1 / b) ln E e^(−b Z). What was collected does not change the choice.

    Args:
        aversion: b.
        discount: γ, which must be 1.
    """

    needs = frozenset({"distribution"})
    neutral = False
    discounts = False

    aversion: float = 1.0
    discount: float = 1.0
    of_run: ClassVar[tuple[str, ...]] = ("discount",)

    def __post_init__(self) -> None:
        in_range(self, aversion=(1e-6, None))
        undiscounted(self)

    def __call__(self, returns: Returns, stock: Tensor | None) -> Tensor:
        exponent = -self.aversion * returns.atoms
        if returns.probs is None:
            return (math.log(exponent.shape[-1]) - exponent.logsumexp(-1)) / self.aversion
        return -(exponent + returns.probs.log()).logsumexp(-1) / self.aversion


@dataclass(frozen=True)
class CVaRActionSelection(Utility):
    """The action with the best mean of the worst share of Z, as if each step were the first: neither the static CVaR of the total, which
    needs the stock, nor the iterated one, which is of next values.

    Args:
        tau: that share; 1 is the mean.
    """

    needs = frozenset({"distribution"})
    neutral = False

    tau: float = 0.25

    def __post_init__(self) -> None:
        in_range(self, tau=(1e-6, 1))

    def __call__(self, returns: Returns, stock: Tensor | None) -> Tensor:
        atoms, order = returns.atoms.sort(-1)
        probs = torch.full_like(atoms, 1 / atoms.shape[-1]) if returns.probs is None else returns.probs.gather(-1, order)
        taken = (self.tau - (probs.cumsum(-1) - probs)).clamp(min=0.0).minimum(probs)
        return (taken * atoms).sum(-1) / self.tau
