"""Training an ensemble for as long as a member gains on held-out data: each keeps its best epoch (Janner and others, 2019)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Epochs(NamedTuple):
    """How long a training lasts."""

    batch_size: int
    """Transitions of an update of each member"""
    patience: int
    """Epochs without a gain of 1 % after which it ends"""
    most: int | None
    """Epochs after which it ends in any case"""


class BestEpochs:
    """
    Args:
        weights: of n members that are trained side by side, (n, …) each.

    Attributes:
        error: (n,), held-out error of each member's best epoch.
        epochs, waited: so far, and since a member has gained.
    """

    def __init__(self, weights: list[nn.Parameter]):
        self.weights, self.kept = weights, [weight.clone() for weight in weights]
        self.error = torch.full(weights[0].shape[:1], math.inf, device=weights[0].device)
        self.epochs = self.waited = 0

    def train_(
        self, update: Callable[[Tensor], None], error: Callable[[], Tensor], samples: Tensor, epochs: Epochs, generator: torch.Generator
    ) -> None:
        """Train each member on its own sample, in another order each epoch.

        Args:
            update: of all members, by numbers (n, B) of transitions.
            error: (n,), held-out error of each member.
            samples: (n, N) numbers of transitions, on the CPU.
            generator: on the CPU.
        """
        while self.waited < epochs.patience and self.epochs != epochs.most:
            shuffled = samples.gather(1, torch.rand(samples.shape, generator=generator).argsort(1)).to(self.error.device)
            for index in shuffled.split(epochs.batch_size, 1):
                update(index)
            self.judge_(error())

    def judge_(self, error: Tensor) -> None:
        """Record the held-out error (n,) after an epoch. A member has gained if it is more than 1 % below the error of its best epoch."""
        better = error < 0.99 * self.error
        self.epochs, self.waited = self.epochs + 1, 0 if bool(better.any()) else self.waited + 1
        self.error = torch.where(better, error, self.error)
        for kept, weight in zip(self.kept, self.weights):
            kept[better] = weight[better]

    def restore_(self) -> None:
        """Give the members the weights of their best epochs."""
        for kept, weight in zip(self.kept, self.weights):
            weight.copy_(kept)
