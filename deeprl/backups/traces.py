"""Multi-step off-policy corrections over sequences (Daley, White, Amato, Machado, ICML 2023, who put all of them into one operator).

    G(s, a)  =  [T_π Q̄](s, a) + Σ_{t≥1} γ^t β_t δ_t,     δ_t = R_t + γ E_π Q̄(S_{t+1}, ·) − Q̄(S_t, A_t),     S_0 = s, A_0 = a

The first term is the one-step target, so that λ = 0 is that target bit for bit. Methods differ in the coefficient β_t alone: of
β_{t−1} and ρ_t = π(A_t|S_t) / μ(A_t|S_t), or of the whole trajectory so far. ρ_0 is not used. The operator contracts for every
trajectory if β_t ≤ ρ_t β_{t−1}; Q(λ) and truncated importance sampling do not promise that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from deeprl.backups.policies import epsilon_greedy
from deeprl.choice import Choice, in_range
from deeprl.types import Batch
from deeprl.values.returns import Returns, pick
from deeprl.values.view import View

LARGEST = 1e12
"""Bound on products of importance ratios, against overflow: a squared error of such a size is still a float32."""


SMALLEST = 1e-6
"""Bound on μ, against the division by zero on rows that are no transition."""


class Step(NamedTuple):
    """What a coefficient β_t may look at, t ≥ 1."""

    before: Tensor
    """of the step before"""
    ratio: Tensor
    """of π to μ at this step"""
    policy: Tensor
    """π(A_t|S_t)"""
    product: Tensor
    """of the ratios up to this one"""
    lam: float
    """λ"""
    limit: Tensor | float
    """λ^t"""


def corrections(coefficient, delta: Tensor, ratio: Tensor, policy: Tensor, carry: Tensor, lam: float) -> Tensor:
    """Σ_{t≥1} γ^t β_t δ_{k+t} for the trace that starts at each row k of a sequence.

    No backward recursion: β_t of a trajectory-aware trace belongs to its start, G_k is no function of G_{k+1}. Hence T − 1 steps,
    each over all starts at once.

    Args:
        coefficient: `Step` -> β_t.
        delta, ratio, policy: (..., T, B) δ, ρ and π(A|S) of every row.
        carry: (..., T, B) what a trace is multiplied by on its way to the next row: γ, or 0 where it stops.

    Returns:
        (..., T, B)
    """
    length = delta.shape[-2]
    total = torch.zeros_like(delta)
    weight = before = product = torch.ones_like(delta)
    for t in range(1, length):
        left = length - t  # starts whose t-th row is in the sequence
        reached = ratio[..., t:, :]
        weight = weight[..., :left, :] * carry[..., t - 1 : length - 1, :]
        product = (product[..., :left, :] * reached).clamp(max=LARGEST)
        step = Step(before[..., :left, :], reached, policy[..., t:, :], product, lam, lam**t)
        before = coefficient(step).clamp(max=LARGEST)
        total[..., :left, :] += weight * before * delta[..., t:, :]
    return total


@dataclass(frozen=True)
class Trace(Choice):
    """A backup over sequences: targets for every row, of which the loss takes the valid ones. Both π and Q̄ are those of the target
    network, each of a chain its own (the paper leaves open whose policy it is in deep learning: this one is ours).

    Traces stop where an episode ended, after a termination, and at the end of the sequence. γ comes with `batch.discount`.

    Args:
        lam: λ. 0 is the one-step backup of the ε-greedy policy, and with `epsilon` 0 that of Q-learning.
        epsilon: of the target policy; the paper's gridworlds have 0.1 for a behaviour with 0.2. At 0 one exploratory action ends
            every trace through it, since ρ = 0.
    """

    needs = frozenset({"sequences", "behavior_probability", "scalar"})

    lam: float = 0.9
    epsilon: float = 0.1

    def __post_init__(self):
        in_range(self, lam=(0, 1), epsilon=(0, 1))

    def coefficient(self, step: Step) -> Tensor:
        """β_t"""
        raise NotImplementedError

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        """Atoms (K, T, B, 1); of a mapped channel (K, 1, T, B, 1), and then Q̄ and the corrections are in ordinary units (transformed
        Retrace, Badia et al., 2020): f(G) with Q̄ = f⁻¹(Q̃).

        Raises:
            ValueError: the batch has no axis of time, or values are distributions, or have several channels.
        """
        if batch.valid.dim() != 2:
            raise ValueError("traces run over sequences: the batch has no axis of time")
        values = target.now.mean()  # (K, T, B, A)
        one_step = target.next.expect(epsilon_greedy(target.next.mean(), self.epsilon)).bootstrap(batch.reward, batch.discount)
        expected = one_step.mean()
        if expected.dim() == values.dim():
            expected = expected.squeeze(1)  # the one channel of a mapping, which `plus` restores
        if expected.shape != values.shape[:-1] or one_step.atoms.shape[-1] != 1:
            raise ValueError("traces correct expected values: a head with one value for each action, of one channel, is needed")
        policy = pick(epsilon_greedy(values, self.epsilon), batch.action)  # (K, T, B)
        ratio = policy / batch.extra["behavior_probability"].clamp(min=SMALLEST)
        delta = torch.where(batch.valid, expected - pick(values, batch.action), 0.0)
        carry = batch.discount * ~batch.ended  # 0 after a termination as well
        return one_step.plus(corrections(self.coefficient, delta, ratio, policy, carry, self.lam))
