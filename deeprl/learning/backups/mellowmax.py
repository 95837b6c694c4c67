"""Mellowmax backup (Asadi and Littman, 2017).

    y = reward + discount · mm(Q̄(s', ·)),     mm(q) = (1/ω) ln( (1/A) Σ_b exp(ω q_b) )

Between the mean (ω → 0) and the maximum (ω → ∞) of the values, and a non-expansion at every ω. It is `Soft` with τ = 1/ω, less τ ln A.
A distributional head backs up the mixture of the next distributions with weights π = softmax(ω q), shifted so that its mean is mm(q): the
authors' form for categories (Vincent et al., 2026, code), where target and gradient, π, agree with those of a scalar.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.learning.values.masked import INVALID
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.view import View
from deeprl.types import Batch


def mellowmax(values: Tensor, omega: float) -> tuple[Tensor, Tensor]:
    """mm(q) and softmax(ω q): (K, *B, A) -> (K, *B) and (K, *B, A). Actions of value `INVALID` do not count."""
    best = values.detach().amax(-1, keepdim=True)  # keeps exp finite; its gradient would cancel
    valid = (values > INVALID / 2) | (best <= INVALID / 2)  # where an episode ended no action may be valid: all count, and are not read
    scaled = omega * (values - best).where(valid, 0.0)
    policy = scaled.where(valid, -float("inf")).softmax(-1)
    if not omega:
        return (policy * values).sum(-1), policy
    # expm1 and log1p, because a small ω would divide the rounding of exp by ω
    mean = (scaled.expm1() * valid).sum(-1) / valid.sum(-1)
    return best.squeeze(-1) + mean.log1p() / omega, policy


@dataclass(frozen=True)
class Mellowmax(Choice):
    """Acting stays ε-greedy.

    Args:
        omega: ω, per unit of Q. 0 is the mean over actions.
    """

    needs = frozenset({"signed", "actions"})

    omega: float = 5.0

    def __post_init__(self):
        in_range(self, omega=(0, None))

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        values = target.next.mean()  # (K, *B, A)
        mean, policy = mellowmax(values, self.omega)
        mixture = target.next.expect(policy)
        return mixture.plus(mean - (policy * values).sum(-1)).bootstrap(batch.reward, batch.discount)
