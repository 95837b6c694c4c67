"""MVI(q), Munchausen reinforcement learning with Tsallis entropies (Zhu, Chen, Schlegel, White, 2023); docs/algorithms/mvi.md.

It has the q-exponential policy in place of the softmax, ln_q in place of ln, and the action gap in place of τ ln π(a|s):

    y = r + α clip(Q̄(s, a) − Σ_b π(b|s) Q̄(s, b), l0) + γ Σ_b π(b|s') (Q̄(s', b) − τ ln_q π(b|s')),     π = exp_q(Q̄ / τ − ψ)

Convention: ln_q x = (x^(q−1) − 1) / (q − 1); our q is 2 − q in papers with the exponent 1 − q.

Both policies, at s and at s', are those of the target network. A termination does not remove the bonus, and in an n-step target only the
first action has one. Acting stays ε-greedy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import Choice, in_range, one_of
from deeprl.learning.backups.bellman import soft_value
from deeprl.learning.backups.policies import boltzmann, bonus, one_hot, policy_metrics
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.view import View
from deeprl.types import Batch

HALVINGS = 53
"""Steps of the bisection: the significand of float64 has 53 bits, so that more of them change nothing"""


def ln_q(x: Tensor, q: float) -> Tensor:
    """q-logarithm for q > 1: −1/(q − 1) at x = 0, and 0 at x = 1."""
    return (x ** (q - 1) - 1) / (q - 1)


def exp_q(x: Tensor, q: float) -> Tensor:
    """q-exponential for q > 1, the inverse of `ln_q`; 0 for x below −1/(q − 1)."""
    return (1 + (q - 1) * x).clamp(min=0) ** (1 / (q - 1))


def running_sums(x: Tensor) -> Tensor:
    """Σ_{j ≤ i} x_j, (..., A). On a GPU it is a product with a triangular matrix, because torch has no deterministic running sum of floats
    there. The product is in float64, because the results then agree with those of a CPU."""
    if not x.is_cuda:
        return x.cumsum(-1)
    return (x.double() @ torch.ones(x.shape[-1], x.shape[-1], dtype=torch.float64, device=x.device).triu()).to(x.dtype)


def sparsemax_normaliser(z: Tensor) -> Tensor:
    """ψ with Σ exp_2(z − ψ) = 1, exactly (Martins and Astudillo, 2016): (..., A) -> (..., 1)."""
    ordered = z.sort(-1, descending=True).values
    sums = running_sums(ordered)
    ranks = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    support = (1 + ranks * ordered > sums).sum(-1, keepdim=True)
    return (sums.gather(-1, support - 1) - 1) / support + 1


def bisected_policy(z: Tensor, q: float) -> Tensor:
    """π = exp_q(z − ψ) with Σ π = 1 for z whose maximum is 0, by bisection of (q − 1) ψ in [0, 1]: (..., A), in float64.

    The sum falls from at least 1 at 0 to 0 at 1. For q > 2 exp_q is vertical where it reaches 0, so that between neighbouring float64
    numbers a probability can change by 0.14 (q = 20). Therefore π is interpolated between both ends of the last interval such that it
    sums to 1. One action alone is exact, because the lower end stays 0."""
    reach = 1 + (q - 1) * z.double()

    def weights(shift: Tensor) -> Tensor:
        return (reach - shift).clamp(min=0) ** (1 / (q - 1))

    low, high = torch.zeros_like(reach[..., :1]), torch.ones_like(reach[..., :1])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = weights(middle).sum(-1, keepdim=True) >= 1
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    above, below = weights(low), weights(high)
    most, least = above.sum(-1, keepdim=True), below.sum(-1, keepdim=True)
    fraction = (most - 1) / (most - least).clamp(min=1e-300)
    return above.lerp(below, fraction.clamp(0, 1))  # compiled code may round these sums otherwise than those of the loop


def q_exponential(values: Tensor, temperature: float, q: float, normaliser: str = "exact") -> Tensor:
    """π(a) = exp_q(values(a) / τ − ψ), (..., A), for q > 1. With τ = 0 or q = ∞ the policy is greedy."""
    if not temperature or math.isinf(q):
        return one_hot(values)
    z = (values - values.amax(-1, keepdim=True)) / temperature
    if normaliser == "exact" and q != 2:
        return bisected_policy(z, q)
    policy = exp_q(z - sparsemax_normaliser(z), q)
    total = policy.sum(-1, keepdim=True)
    return torch.where(total > 0, policy / total, one_hot(z).to(policy.dtype))


@dataclass(frozen=True)
class Tsallis(Choice):
    """MVI(q) backup. The authors' code of the online agent is not public. `term`, `bootstrap` and `normaliser` are options, because their
    values are from memory of the paper and not verified.

    Args:
        q: entropic index, at least 1. 1 gives the softmax, 2 the sparsemax, ∞ the greedy policy.
        temperature: τ, in units of Q. 0 gives the greedy policy, and with term `gap` advantage learning.
        scale: α. 0 removes the bonus.
        floor: l0, the lower end of the clip, applied before α; null: no clip.
        term: the bonus, `gap` (MVI(q)) or `logq`, τ ln_q π(a|s), which at q = 1 is Munchausen exactly.
        bootstrap: form of V(s'). `entropic` is Σ π (Q̄ − τ ln_q π); `consistent` has τ/q in place of τ, the value that π maximises;
            `expected` is Σ π Q̄.
        normaliser: `exact`, or the paper's `first_order` expansion: ψ of the sparsemax for every q > 1, renormalised, and the greedy policy
            where no action is left.
    """

    needs = frozenset({"signed", "actions"})

    q: float = 2.0
    temperature: float = 0.03
    scale: float = 0.9
    floor: float | None = -1.0
    term: str = "gap"
    bootstrap: str = "entropic"
    normaliser: str = "exact"

    def __post_init__(self):
        in_range(self, temperature=(0, None), scale=(0, 1))
        if self.q != math.inf:
            in_range(self, q=(1, None))
        if self.floor is not None:
            in_range(self, floor=(None, 0))
        options = {"term": ("gap", "logq"), "bootstrap": ("entropic", "consistent", "expected"), "normaliser": ("exact", "first_order")}
        one_of(self, **options)

    def policy(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """π and τ ln_q π, (K, *B, A)."""
        if self.q == 1:
            return boltzmann(values, self.temperature)
        policy = q_exponential(values, self.temperature, self.q, self.normaliser)
        return policy.to(values.dtype), (self.temperature * ln_q(policy, self.q)).to(values.dtype)

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        now = target.now.mean()
        policy_now, scaled_log_now = self.policy(now)
        gap = now - (policy_now * now).sum(-1, keepdim=True)
        munchausen_term = self.scale * bonus(gap if self.term == "gap" else scaled_log_now, batch.action, self.floor)  # (K, *B)
        policy, scaled_log = self.policy(target.next.mean())
        factor = {"entropic": 1.0, "consistent": 1 / self.q, "expected": 0.0}[self.bootstrap]
        return soft_value(target.next, policy, factor * scaled_log).bootstrap(batch.reward, batch.discount).plus(munchausen_term)

    def metrics(self, online: View, target: View, batch: Batch) -> dict[str, Tensor]:
        """Metrics of the target network's policy at s'."""
        values = target.next.mean()
        return policy_metrics(values, self.policy(values)[0])
