"""Peng's Q(λ) over rollouts, the target of PQN (Gallici and others, 2025).

    G_t  =  R_t + d_t V(s_{t+1})                                            if the episode or the rollout ends after t
    G_t  =  R_t + d_t [ (1 − λ) V(s_{t+1}) + λ G_{t+1} ]                    otherwise,     V(s) = max_a Q̄(s, a)

R_t is the reward and d_t is γ (1 − terminated). λ = 0 is the one-step target of `Max`, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from deeprl.choice import Choice, in_range
from deeprl.learning.backups.policies import greedy
from deeprl.learning.values.recursion import goes_on, linear_recursion
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.view import View
from deeprl.types import Batch


@dataclass(frozen=True)
class Peng(Choice):
    """λ-returns of the actions that were taken, without a correction for those that were not greedy.

    Args:
        lam: λ.
    """

    needs = frozenset({"rollout", "scalar", "actions"})

    lam: float = 0.65

    def __post_init__(self):
        in_range(self, lam=(0, 1))

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        """Targets of a whole rollout, atoms (K, L, M, 1), with a mapping (K, 1, L, M, 1)."""
        future = target.next.expect(greedy(target.next.mean()))
        one_step, value = future.bootstrap(batch.reward, batch.discount), future.mean()  # R_t + d_t V(s_{t+1}), and V(s_{t+1})
        carry = (self.lam * batch.discount * goes_on(batch.ended)).expand(value.shape)  # λ d_t, 0 at an end
        # G_t = [R_t + d_t V(s_{t+1})] − λ d_t V(s_{t+1})  +  λ d_t G_{t+1}
        return Returns(linear_recursion(one_step.mean() - carry * value, carry).unsqueeze(-1))
