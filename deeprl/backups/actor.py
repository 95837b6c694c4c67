"""The Bellman operator of actor-critics: the next action comes from a policy, the next value from an ensemble of critics."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.types import Batch
from deeprl.values.returns import Returns


@dataclass(frozen=True)
class PolicyBackup(Choice):
    """Target of actor-critics: the next action comes from a policy.

    TD3 (Fujimoto, van Hoof, Meger, 2018) adds clipped Gaussian noise to the target actor, one draw for each sample and action dimension.
    With `smoothing` 0 and one critic this is DDPG's target.

    Args:
        target_actor: use the target actor, not the online one.
        smoothing: standard deviation of the noise, in units of the half-range of the actions.
        clip: bound of the noise, ± clip.
    """

    needs = frozenset({"actor"})

    target_actor: bool = True
    smoothing: float = 0.2
    clip: float = 0.5

    def __post_init__(self):
        in_range(self, smoothing=(0, None), clip=(0, None))

    def noise_shapes(self, action_dim: int) -> dict[str, tuple[int, ...]]:
        return {"smoothing": (action_dim,)} if self.smoothing else {}

    def next_action(self, online, target, batch: Batch) -> Tensor:
        """Next action, (*B, D) in [-1, 1]."""
        actor = target.actor if self.target_actor else online.actor
        action = actor(batch.next_obs)
        if not self.smoothing:
            return action
        noise = (self.smoothing * batch.noise["smoothing"]).clamp(-self.clip, self.clip)
        return (action + noise).clamp(-1.0, 1.0)

    def __call__(self, online, target, batch: Batch) -> Returns:
        action = self.next_action(online, target, batch)
        return target.value(batch.next_obs, action).bootstrap(batch.reward, batch.discount)
