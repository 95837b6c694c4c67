"""Munchausen reinforcement learning (Vieillard, Pietquin, Geist, 2020); docs/algorithms/munchausen.md.

    y = reward + α max(τ ln π(a|s), l0) + discount Σ_b π(b|s') (Q̄(s', b) − τ ln π(b|s')),     π = softmax(Q̄ / τ)

Both policies, at s and at s', are those of the target network (BTR takes that of the online network at s, see agents/btr.py). A termination
does not remove the bonus, and in an n-step target only the first action has one. Acting stays ε-greedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from deeprl.choice import in_range
from deeprl.learning.backups.bellman import Soft, soft_value
from deeprl.learning.backups.policies import boltzmann
from deeprl.learning.values.returns import Returns, pick
from deeprl.learning.values.view import View
from deeprl.types import Batch


def munchausen_bonus(of_actions: Tensor, action: Tensor, floor: float | None) -> Tensor:
    """Bonus of the action taken, not below `floor`: (K, *B, A) -> (K, *B)."""
    taken = pick(of_actions, action)
    return taken if floor is None else taken.clamp(min=floor)


@dataclass(frozen=True)
class Munchausen(Soft):
    """Munchausen backup: M-DQN, and M-IQN with an implicit quantile head.

    Args:
        temperature: τ, in units of Q. 0 is the limit, advantage learning.
        scale: α. 0 is `Soft`, bit for bit.
        floor: l0, the lower bound of the bonus before α; null: no bound.
    """

    scale: float = 0.9
    former: ClassVar = {"now": "bonus_values"}

    floor: float | None = -1.0

    def __post_init__(self):
        in_range(self, temperature=(0, None), scale=(0, 1))
        if self.floor is not None:
            in_range(self, floor=(None, 0))

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        policy, scaled_log = boltzmann(target.next.mean(), self.temperature)
        _, scaled_log_now = boltzmann(self.bonus_values(online, target), self.temperature)
        munchausen_term = self.scale * munchausen_bonus(scaled_log_now, batch.action, self.floor)  # (K, *B)
        return soft_value(target.next, policy, scaled_log).bootstrap(batch.reward, batch.discount).plus(munchausen_term)

    def bonus_values(self, online: View, target: View) -> Tensor:
        """Action values at s, (K, *B, A), of which the policy of the bonus is the softmax."""
        return target.now.mean()
