"""Policies of largest Tsallis entropy: π = exp_q(z − ψ) with Σ π = 1, for the softmax's z; docs/algorithms/mvi.md.

    ln_q x = (x^(q−1) − 1) / (q − 1),     exp_q its inverse

Our q is 2 − q in papers with the exponent 1 − q.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deeprl.learning.backups.policies import one_hot

HALVINGS = 53
"""Steps of the bisection: the significand of float64 has 53 bits, so that more of them change nothing"""


def ln_q(x: Tensor, q: float) -> Tensor:
    """q-logarithm for q > 1, (...) -> (...): −1/(q − 1) at x = 0, and 0 at x = 1."""
    return (x ** (q - 1) - 1) / (q - 1)


def exp_q(x: Tensor, q: float) -> Tensor:
    """q-exponential for q > 1, (...) -> (...), the inverse of `ln_q`; 0 for x below −1/(q − 1)."""
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
