"""What a policy prefers: a functional of the return distribution by which greedy actions are chosen, in acting and in targets.

    a*(s, c) = argmax_a U(law of c + Z(s, c, a))

c is the stock: what was collected so far, see `deeprl.learning.transforms.stock`. Regressions are those of Z for every utility.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from deeprl.choice import Choice
from deeprl.learning.values.returns import Returns, Values
from deeprl.types import Noise


class Distributions(Values, Protocol):
    """`Values` of a head that predicts distributions."""

    def returns(self) -> Returns:
        """Of all actions, atoms (K, *B, A, N): those by which a policy chooses, see `Values.mean`."""

    def entries(self, entries: slice) -> Distributions: ...


class Utility(Choice):
    """Base of the utilities, which is the mean: the neutral element, bit for bit. Others override `__call__`."""

    neutral = True
    stocked = False
    """Whether it needs the stock"""
    discounts = True
    """Whether a discount below 1 is allowed"""

    @property
    def candidates(self) -> Tensor | None:
        """(G,) first stocks among which `start` chooses in evaluation; None: the environment's first stock is kept."""
        return None

    def __call__(self, returns: Returns, stock: Tensor | None) -> Tensor:
        """Worth of actions, atoms (K, *B, A, N) and stock (*B,) -> (K, *B, A)."""
        return returns.mean()

    def start(self, worth: Tensor) -> Tensor:
        """Which of the candidates an episode begins with: worth of the best actions (G, M) -> (M,) int64."""
        return worth.argmax(0)

    def noise(self, size: tuple[int, ...], generator) -> Noise:
        """Random numbers of updates, see `Part.noise`."""
        return {}

    def edited(self, noise: Noise) -> tuple[Tensor, Tensor] | None:
        """First stocks (*B,) that take the place of those which the episodes of a batch had, and where (*B,) bool; None: nowhere."""
        return None


class Preferred:
    """`Values` whose means are utilities, so that every policy made of them prefers what it prefers. Everything else is that of the values
    below.

    Args:
        values: prediction of a network, distributions.
        stock: (*B,), or None.
    """

    def __init__(self, values: Distributions, utility: Utility, stock: Tensor | None):
        self.values, self.utility, self.stock, self.features = values, utility, stock, values.features

    def mean(self) -> Tensor:
        return self.utility(self.values.returns(), self.stock)

    def expect(self, policy: Tensor) -> Returns:
        return self.values.expect(policy)

    def at(self, action: Tensor) -> Values:
        return self.values.at(action)

    def entries(self, entries: slice) -> Preferred:
        return Preferred(self.values.entries(entries), self.utility, self.stock)

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        return self.values.loss(target)
