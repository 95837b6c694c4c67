"""MVI(q), Munchausen reinforcement learning with Tsallis entropies (Zhu, Chen, Schlegel, White, 2023); docs/algorithms/mvi.md.

It has the q-exponential policy in place of the softmax, ln_q in place of ln, and the advantage in place of τ ln π(a|s):

    y = reward + α max(Q̄(s, a) − Σ_b π(b|s) Q̄(s, b), l0) + discount Σ_b π(b|s') (Q̄(s', b) − τ ln_q π(b|s')),     π = exp_q(Q̄ / τ − ψ)

Both policies, at s and at s', are those of the target network. A termination does not remove the bonus, and in an n-step target only the
first action has one. Acting stays ε-greedy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from deeprl.agents.munchausen import munchausen_bonus
from deeprl.agents.q_exponential import ln_q, q_exponential
from deeprl.choice import Choice, in_range, one_of
from deeprl.learning.backups.bellman import soft_value
from deeprl.learning.backups.policies import boltzmann, policy_metrics
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.view import View
from deeprl.types import Batch


@dataclass(frozen=True)
class Tsallis(Choice):
    """MVI(q) backup. The authors' code of the online agent is not public. `term`, `bootstrap` and `normaliser` are options, because their
    values are from memory of the paper and not verified.

    Args:
        q: entropic index, at least 1. 1 gives the softmax, 2 the sparsemax, ∞ the greedy policy.
        temperature: τ, in units of Q. 0 gives the greedy policy, and with term `gap` advantage learning.
        scale: α. 0 removes the bonus.
        floor: l0, the lower bound of the bonus before α; null: no bound.
        term: the bonus, `gap`, the advantage (MVI(q)), or `logq`, τ ln_q π(a|s), which at q = 1 is Munchausen exactly.
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
        munchausen_term = self.scale * munchausen_bonus(gap if self.term == "gap" else scaled_log_now, batch.action, self.floor)
        policy, scaled_log = self.policy(target.next.mean())
        factor = {"entropic": 1.0, "consistent": 1 / self.q, "expected": 0.0}[self.bootstrap]
        return soft_value(target.next, policy, factor * scaled_log).bootstrap(batch.reward, batch.discount).plus(munchausen_term)

    def metrics(self, online: View, target: View, batch: Batch) -> dict[str, Tensor]:
        """Metrics of the target network's policy at s'."""
        values = target.next.mean()
        return policy_metrics(values, self.policy(values)[0])
