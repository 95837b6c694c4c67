"""Raising a lower bound of the return off-line, from one batch of episodes (POIS; Metelli, Papini, Faccio, Restelli, 2018).

g = ∇ bound(θ),   d = direction(g),   θ ← θ + ε d / gᵀd,   ε by `parabolic_search`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from deeprl.choice import Group, counts, in_range
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.optim.directions import flat_gradient, parabolic_search
from deeprl.learning.optim.finite import finite
from deeprl.learning.optim.own import OwnSteps


@dataclass(frozen=True, kw_only=True)
class Climb(Group):
    """Steps until the norm of the gradient, or a gain, is not above `least`.

    Args:
        steps: off-line steps of a batch, at most.
        trials: of a line search, at most.
        least: norm of the gradient, or gain, up to which the batch is left.
    """

    steps: int = 10
    trials: int = 30
    least: float = 1e-4

    def __post_init__(self):
        in_range(self, least=(0, None))
        counts(self, steps=1, trials=1)

    def __call__(
        self, optimizer: OwnSteps, bound: Callable[[], Tensor], direction: Callable[[Tensor], Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """
        Args:
            optimizer: its parameters climb.
            bound: () of the present parameters.
            direction: of a gradient, (P,) -> (P,).

        Returns:
            Metrics, and () the norm of the first gradient.
        """
        norms, gains, lengths = [], [], 0.0  # of each gradient, (); of each step; their sum
        for _ in range(self.steps):
            with differentiated(optimizer.parameters):
                before = bound()
                gradient = finite(flat_gradient(before, optimizer.parameters))
            norms.append(torch.linalg.vector_norm(gradient))
            if norms[-1] <= self.least:
                break
            move, start = direction(gradient), optimizer.flat.clone()
            move = move / (gradient @ move)
            if not move.isfinite().all():  # the square of a tiny gradient is 0
                break
            gain = partial(gain_, optimizer, bound, float(before.detach()), start, move)
            length, found = parabolic_search(gain, self.trials, self.least)
            gain(length)
            gains.append(found)
            lengths += length
            if found <= self.least:
                break
        optimizer.length.fill_(lengths)
        metrics = {"train/bound_gain": sum(gains), "train/offline_steps": float(len(gains))}
        return {name: norms[0].new_full((), value) for name, value in metrics.items()}, norms[0]


def gain_(optimizer: OwnSteps, bound: Callable[[], Tensor], before: float, start: Tensor, move: Tensor, length: float) -> float:
    """Set the parameters to `start + length * move`, all (P,), and return what the bound gains over `before`."""
    optimizer.move_(start + length * move, length)
    with torch.no_grad():
        return float(bound()) - before
