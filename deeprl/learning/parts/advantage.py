"""How good the actions of a rollout were: advantages and the returns that V is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.choice import Choice
from deeprl.learning.values.recursion import goes_on, linear_recursion
from deeprl.types import Batch


@dataclass(frozen=True)
class Advantage(Choice):
    """Base of the estimators."""

    def __call__(self, rollout: Batch, value: Tensor, after: Tensor, log_prob: Tensor, lam: float) -> tuple[Tensor, Tensor]:
        """Advantages and returns, (L, M) each. A truncation ends the sum and bootstraps from V of its last observation.

        Args:
            rollout: with the axes (L, M).
            value, after: V of both ends of each step, (L, M).
            log_prob: log π(a|s) of the present policy, (L, M).
            lam: λ, the key `agent.lam`.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class GAE(Advantage):
    """Generalised advantage estimation (Schulman and others, 2016).

    Â_t = δ_t + d_t λ Â_{t+1},    δ_t = R_t + d_t V(s_{t+1}) − V(s_t);    returns = Â + V
    """

    def __call__(self, rollout: Batch, value: Tensor, after: Tensor, log_prob: Tensor, lam: float) -> tuple[Tensor, Tensor]:
        delta = rollout.reward + rollout.discount * after - value
        advantage = linear_recursion(delta, lam * rollout.discount * goes_on(rollout.ended))
        return advantage, advantage + value
