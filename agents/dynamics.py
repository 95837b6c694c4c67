"""What a model that learns is, what it learns from, and what it minimises. `deeprl.agents.model_ensemble` has the one that there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from deeprl.choice import Choice
from deeprl.types import State

CHUNK = 8192
"""Rows that are predicted at once, so that the layers of all members take little memory"""


def squared_error(mean: Tensor, target: Tensor) -> Tensor:
    """(n, B), the mean over r and all of s' − s."""
    return (mean - target).square().mean(-1)


class ModelLoss(Choice):
    """What a model minimises; the contract of the key `replay.model.loss`. Outputs and targets are (r, s' − s), (n, B, 1 + S)."""

    gaussian: ClassVar[bool] = False
    """Whether members predict variances too, and predictions are drawn"""
    weighted: ClassVar[bool] = False
    """Whether it reads value gradients, which an agent without critics does not have"""

    def __call__(self, mean: Tensor, log_variance: Tensor, target: Tensor, slopes: Tensor, step: int) -> Tensor:
        """(n, B), for each member and transition.

        Args:
            log_variance: as `mean`; zeros unless it is `gaussian`.
            slopes: (n, B, J, S) value gradients ∇V_j(s') of J values, if it is `weighted`; else (n, B, 0, S).
            step: environment steps since the first training.
        """
        raise NotImplementedError

    def score(self, mean: Tensor, target: Tensor, slopes: Tensor) -> Tensor:
        """(n, B), the error of held-out transitions, by which training ends and the elite is chosen."""
        return squared_error(mean, target)


@dataclass(frozen=True)
class Likelihood(ModelLoss):
    """(μ − y)² e^−ℓ + ℓ, the mean over r and all of s' − s: up to constants twice the negative logarithm of a normal density."""

    gaussian: ClassVar[bool] = True

    def __call__(self, mean: Tensor, log_variance: Tensor, target: Tensor, slopes: Tensor, step: int) -> Tensor:
        return ((mean - target).square() * (-log_variance).exp() + log_variance).mean(-1)


@dataclass(frozen=True)
class Squared(ModelLoss):
    """(μ − y)², the mean over r and all of s' − s."""

    def __call__(self, mean: Tensor, log_variance: Tensor, target: Tensor, slopes: Tensor, step: int) -> Tensor:
        return squared_error(mean, target)


def moments(column: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (K,) of (N, K). The deviation of what never changes is 1, so that nothing is divided by 0."""
    deviation = column.std(0, correction=0)
    return column.mean(0), torch.where(deviation < 1e-12, 1.0, deviation)


class Data(NamedTuple):
    """Transitions that a model learns from."""

    inputs: Tensor
    """(N, S + D): s, a"""
    targets: Tensor
    """(N, 1 + S): the reward, and the change of the observation"""
    terminated: Tensor
    """(N,) float32"""
    after: Tensor
    """(N, S): s'"""
    slopes: Tensor
    """(N, J, S) value gradients ∇V_j(s') of J values; (N, 0, S) where none are known"""

    def at(self, index: Tensor) -> Data:
        return Data(*(column[index] for column in self))

    def sloped(self, slopes: Slopes | None) -> Data:
        return self if slopes is None else self._replace(slopes=slopes(self.after))


Slopes = Callable[[Tensor], Tensor]
"""Observations (N, S) -> value gradients there, of J values, (N, J, S)"""


class Prediction(NamedTuple):
    """Of a step of the environment, (B, …)."""

    reward: Tensor
    obs: Tensor
    terminated: Tensor
    """(B,) bool, as the model has learned it; all false if it does not learn it"""


class Model(Protocol):
    """A simulator that learns: what `deeprl.agents.mbpo.ModelReplay` asks for."""

    def fit(self, data: Data, slopes: Slopes | None, generator: torch.Generator, step: int, beat: Callable[[], object]) -> dict[str, float]:
        """Learn from all transitions so far. Returns numbers for the log.

        Args:
            data: without `slopes`.
            slopes: value gradients of the agent; None if it has no critics.
            generator: on the CPU, of all random numbers of this training.
            step: environment steps since the first training.
            beat: called before each update, because a process without a sign of life is taken for one that hangs.
        """

    def predict(self, obs: Tensor, action: Tensor, generator: torch.Generator) -> Prediction:
        """A step from (B, S) with (B, D)."""

    def state(self) -> State: ...

    def load(self, state: State) -> None:
        """
        Raises:
            ValueError: `state` is that of another model, or none can have it.
        """


class ModelChoice(Choice):
    """What the key `replay.model` takes."""

    loss: ModelLoss = Squared()

    def build(self, obs: int, action: int, learns_ends: bool, seed: int) -> Model:
        """
        Args:
            obs, action: S and D.
            learns_ends: whether it must learn terminations, because the task's rule is not known.
        """
        raise NotImplementedError

    def memory(self, rows: int, obs: int, action: int, values: int) -> int:
        """Bytes that a training with `rows` transitions takes beside them.

        Args:
            obs, action: S and D.
            values: J, of which gradients are known.
        """
        return 0
