"""Bellman operators: from what the networks say at both ends of a transition to the target of the regression.

    (T Q̄)(s, a)  =  reward + discount · E_π Z̄(s')

`reward` is an n-step sum and `discount` is γᵐ(1 − terminated); both come ready from the replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.types import Batch
from deeprl.values import Returns, View


class Backup(Protocol):
    @property
    def needs(self) -> frozenset[str]:
        """See `Choice.needs`."""

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        """Atoms (K, *B, N)."""


def greedy(values: Tensor) -> Tensor:
    """(K, *B, A) -> (K, *B) actions; ties go to the lowest index."""
    return values.argmax(-1)


@dataclass(frozen=True)
class Max(Choice):
    """Q-learning (Mnih et al., 2015): each target network rates its own best action."""

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        return target.next.expect(greedy(target.next.mean())).bootstrap(batch.reward, batch.discount)


@dataclass(frozen=True)
class Double(Choice):
    """Double Q-learning (van Hasselt, Guez, Silver, 2016): the online network picks the next action, the target network rates
    it. In a chain, the K-th online network picks for the K-th target."""

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        return target.next.expect(greedy(online.next.mean())).bootstrap(batch.reward, batch.discount)


@dataclass(frozen=True)
class PolicyBackup(Choice):
    """Actor-critic targets: the next action comes from a policy.

    TD3 (Fujimoto, van Hoof, Meger, 2018): the target actor, smoothed by clipped Gaussian noise, one draw for each sample and
    action dimension. With `smoothing` 0 and one critic this is DDPG's target.

    Args:
        target_actor: ask the target actor, not the online one.
        smoothing: standard deviation of the noise, in units of the half-range of the actions.
        clip: the noise is cut off at ± this.
    """

    target_actor: bool = True
    smoothing: float = 0.2
    clip: float = 0.5

    def __post_init__(self):
        in_range(self, smoothing=(0, None), clip=(0, None))

    def noise_shapes(self, action_dim: int) -> dict[str, tuple[int, ...]]:
        return {"smoothing": (action_dim,)} if self.smoothing else {}

    def next_action(self, online, target, batch: Batch) -> Tensor:
        """(*B, D) in [-1, 1]."""
        actor = target.actor if self.target_actor else online.actor
        action = actor(batch.next_obs)
        if not self.smoothing:
            return action
        noise = (self.smoothing * batch.noise["smoothing"]).clamp(-self.clip, self.clip)
        return (action + noise).clamp(-1.0, 1.0)

    def __call__(self, online, target, batch: Batch) -> Returns:
        action = self.next_action(online, target, batch)
        return target.value(batch.next_obs, action).bootstrap(batch.reward, batch.discount)
