"""V-trace (Espeholt and others, IMPALA, ICML 2018): advantages of the present policy π from the rollout of an older one, μ.

    ρ_t = min(ρ̄, π(a|s) / μ(a|s))        c_t = λ min(c̄, π(a|s) / μ(a|s))
    v_t = V(s_t) + ρ_t δ_t + d_t c_t (v_{t+1} − V(s_{t+1})),     δ_t = R_t + d_t V(s_{t+1}) − V(s_t)
    Â_t = ρ_t (R_t + d_t v_{t+1} − V(s_t))

V is fitted to v. With μ = π, v is the λ-return. Â is then GAE's at λ = 1 only: for λ < 1 it is one step of reward and the λ-return of the
next state. Rollouts of a run are collected by the present policy as a whole, also by actors (`collect=ray`), so that ratios are 1 there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import bounds_above_zero
from deeprl.learning.parts.advantage import Advantage
from deeprl.learning.policy_agent import SMALLEST
from deeprl.learning.values.recursion import goes_on, linear_recursion
from deeprl.types import Batch


@dataclass(frozen=True)
class VTrace(Advantage):
    """
    Args:
        rho, c: ρ̄ and c̄, largest weights; None: no bound.
    """

    rho: float | None = 1.0
    c: float | None = 1.0

    needs = frozenset({"behavior_probability"})

    def __post_init__(self):
        bounds_above_zero(self, "rho", "c")

    def __call__(self, rollout: Batch, value: Tensor, after: Tensor, log_prob: Tensor, lam: float) -> tuple[Tensor, Tensor]:
        least = math.log(SMALLEST)  # densities of many dimensions are smaller, and stored so
        ratio = (log_prob.clamp(least, -least) - rollout.extra["behavior_probability"].log()).exp()
        on = goes_on(rollout.ended)
        rho, c = (ratio if most is None else ratio.clamp(max=most) for most in (self.rho, self.c))
        delta = rho * (rollout.reward + rollout.discount * after - value)
        correction = linear_recursion(delta, rollout.discount * lam * c * on)  # v_t − V(s_t)
        later = after + on * torch.cat([correction[1:], torch.zeros_like(correction[:1])])  # v_{t+1}
        return rho * (rollout.reward + rollout.discount * later - value), value + correction
