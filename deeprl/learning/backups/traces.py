"""Multi-step off-policy corrections over sequences, in the common operator of Daley, White, Amato, Machado (ICML 2023).

    G(s, a)  =  [T_π Q̄](s, a) + Σ_{t≥1} (Π_{i<t} discount_i) β_t δ_t,                                   S_0 = s, A_0 = a
    δ_t      =  reward_t + discount_t E_π Q̄(S_{t+1}, ·) − Q̄(S_t, A_t)

The first term is the one-step target, so that λ = 0 is that target bit for bit. Methods differ in the coefficient β_t alone: a function of
β_{t−1}, of ρ_t = π(A_t|S_t) / μ(A_t|S_t) or of π(A_t|S_t), or of the whole trajectory up to t. ρ_0 is not used. The operator contracts for
every trajectory if β_t ≤ ρ_t β_{t−1}; Q(λ) and truncated importance sampling do not guarantee it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.learning.backups.policies import epsilon_greedy
from deeprl.learning.values.returns import Returns, pick
from deeprl.learning.values.view import View
from deeprl.types import Batch

LARGEST = 1e12
"""Bound on products of importance ratios, because a squared error of a larger size could overflow float32."""


SMALLEST = 1e-6
"""Lower bound on μ, because rows that are not transitions have μ = 0."""


class Step(NamedTuple):
    """Arguments of a coefficient β_t, t ≥ 1. Tensors have the shape (..., T - t, B): one entry for each start whose t-th row is in the
    sequence."""

    previous: Tensor
    """β of the step before"""
    ratio: Tensor
    """Ratio of π to μ at this step; None where the trace has no "behavior_probability" in `needs`, as `product` is"""
    probability: Tensor
    """π(A_t|S_t)"""
    product: Tensor
    """Product of the ratios up to this step"""
    lam: float
    """λ"""
    lam_power: Tensor | float
    """λ^t"""


def trace_sums(
    coefficient: Callable[[Step], Tensor], delta: Tensor, ratio: Tensor | None, probability: Tensor, carry: Tensor, lam: float
) -> Tensor:
    """Σ_{t≥1} γ^t β_t δ_{k+t} for the trace that starts at each row k of a sequence.

    A backward recursion is impossible, because β_t of a trajectory-aware trace depends on its start, so that G_k is not a function of
    G_{k+1}. The loop has T − 1 passes, each over all starts at once.

    Args:
        coefficient: `Step` -> β_t.
        delta, ratio, probability: (..., T, B) δ, ρ and π(A|S) of every row; without μ there is no ρ.
        carry: (..., T, B) factor of a trace from a row to the next: γ, or 0 where the trace stops.
        lam: λ.

    Returns:
        (..., T, B)
    """
    length = delta.shape[-2]
    total = torch.zeros_like(delta)
    discount = beta = product = torch.ones_like(delta)  # γ^0, β_0, and the empty product of ratios
    for t in range(1, length):
        left = length - t  # number of starts whose t-th row is in the sequence
        discount = discount[..., :left, :] * carry[..., t - 1 : length - 1, :]  # γ^t, 0 behind a stop
        ratios: Any = None, None
        if ratio is not None:
            product = (product[..., :left, :] * ratio[..., t:, :]).clamp(max=LARGEST)
            ratios = ratio[..., t:, :], product  # ρ_t, ρ_1 ⋯ ρ_t
        step = Step(beta[..., :left, :], ratios[0], probability[..., t:, :], ratios[1], lam, lam**t)
        beta = coefficient(step).clamp(max=LARGEST)  # β_t
        total[..., :left, :] += discount * beta * delta[..., t:, :]
    return total


@dataclass(frozen=True)
class Trace(Choice):
    """A backup over sequences: it gives a target for every row, and the loss takes the valid rows. π and Q̄ are those of the target
    network; in a chain, each target network has its own. (The paper does not define π for deep learning; this choice is ours.)

    Traces stop where an episode ended, after a termination, and at the end of the sequence. γ is in `batch.discount`. A trace whose
    coefficient reads neither `ratio` nor `product` leaves "behavior_probability" out of `needs`, and then goes with noisy heads.

    Args:
        lam: λ. 0 is the one-step backup of the ε-greedy policy, and with `epsilon` 0 that of Q-learning.
        epsilon: ε of the target policy; the paper's gridworlds have 0.1, with 0.2 for the behaviour. At 0 an exploratory action ends every
            trace through it, because its ρ is 0.
    """

    needs = frozenset({"sequences", "behavior_probability", "scalar", "actions"})

    lam: float = 0.9
    epsilon: float = 0.1

    def __post_init__(self):
        in_range(self, lam=(0, 1), epsilon=(0, 1))

    def coefficient(self, step: Step) -> Tensor:
        """β_t"""
        raise NotImplementedError

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        """Target of every row, atoms (K, T, B, 1). With a mapping they are (K, 1, T, B, 1), and Q̄ = f⁻¹(Q̃) and the corrections are in
        ordinary units (transformed Retrace, Badia et al., 2020): the target is f(G).

        Raises:
            ValueError: the batch has no axis of time, or values are distributions, or have several channels.
        """
        if batch.valid.dim() != 2:
            raise ValueError("traces run over sequences: the batch has no axis of time")
        values = target.now.mean()  # (K, T, B, A)
        policy = epsilon_greedy(target.next.mean(), self.epsilon, batch.extra.get("next_valid"))
        one_step = target.next.expect(policy).bootstrap(batch.reward, batch.discount)
        expected = one_step.mean()
        if expected.dim() == values.dim():
            expected = expected.squeeze(1)  # the one channel of a mapping, which `plus` restores
        if expected.shape != values.shape[:-1] or one_step.atoms.shape[-1] != 1:
            raise ValueError("traces correct expected values: a head with one value for each action, of one channel, is needed")
        taken = pick(epsilon_greedy(values, self.epsilon, batch.extra.get("valid")), batch.action)  # (K, T, B)
        weighs = "behavior_probability" in self.needs
        ratio = taken / batch.extra["behavior_probability"].clamp(min=SMALLEST) if weighs else None
        delta = torch.where(batch.valid, expected - pick(values, batch.action), 0.0)
        carry = batch.discount * ~batch.ended  # 0 after a termination as well
        return one_step.plus(trace_sums(self.coefficient, delta, ratio, taken, carry, self.lam))
