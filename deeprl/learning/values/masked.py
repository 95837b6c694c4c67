"""Values of actions of which only some are valid, by the mask of the environment."""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.learning.values.returns import Returns, Values

INVALID = -1e30
"""Value of an action that is not valid. It loses every comparison and has the probability 0 in every softmax. It is finite, because 0 times
an infinite value is no number."""


def masked(values: Tensor, valid: Tensor) -> Tensor:
    """Values (K, *B, A), `INVALID` where `valid` (*B, A) is false."""
    return torch.where(valid, values, INVALID)


def only(values: Tensor, valid: Tensor | None) -> Tensor:
    """Values, or logits, of which those of valid actions alone count, see `masked`; None: all are valid."""
    return values if valid is None else masked(values, valid)


class MaskedValues:
    """`Values` whose means show which actions are valid, so that no policy of them takes another one. Everything else is that of the
    values below: the return of an invalid action is finite, and its probability is 0.

    Args:
        values: prediction of a network, of any kind.
        valid: (*B, A) bool.
    """

    def __init__(self, values: Values, valid: Tensor):
        self.values, self.valid, self.features = values, valid, values.features

    def mean(self) -> Tensor:
        return masked(self.values.mean(), self.valid)

    def expect(self, policy: Tensor) -> Returns:
        return self.values.expect(policy)

    def at(self, action: Tensor) -> Values:
        return self.values.at(action)

    def entries(self, entries: slice) -> MaskedValues:
        return MaskedValues(self.values.entries(entries), self.valid)

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        return self.values.loss(target)
