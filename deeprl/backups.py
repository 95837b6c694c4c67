"""Bellman operators: from what the networks say at both ends of a transition to the target of the regression.

    (T Q̄)(s, a)  =  reward + discount · E_π Z̄(s')

`reward` is an n-step sum and `discount` is γᵐ(1 − terminated); both come ready from the replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.types import Batch
from deeprl.values import Returns, Values, View


class Backup(Protocol):
    """A backup may also have a method `metrics(online, target, batch)`, see `report`."""

    @property
    def needs(self) -> frozenset[str]:
        """See `Choice.needs`."""

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        """Atoms (K, *B, N)."""


def greedy(values: Tensor) -> Tensor:
    """(K, *B, A) -> (K, *B) actions; ties go to the lowest index."""
    return values.argmax(-1)


def one_hot(values: Tensor) -> Tensor:
    """`greedy` as probabilities, (K, *B, A)."""
    return torch.zeros_like(values).scatter(-1, greedy(values).unsqueeze(-1), 1.0)


def boltzmann(values: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """π = softmax(values / τ) and τ ln π, both (K, *B, A).

    The maximum is subtracted before the division, so that neither large values nor a small τ cost digits. τ = 0 is the limit: the
    greedy policy, and τ ln π is the distance from the best value."""
    behind = values - values.amax(-1, keepdim=True)
    if not temperature:
        return one_hot(values), behind
    weight = (behind / temperature).exp()
    total = weight.sum(-1, keepdim=True)
    return weight / total, behind - temperature * total.log()


def soft_value(values: Values, policy: Tensor, log: Tensor) -> Returns:
    """Σ_b π(b) (Z(b) − τ ln π(b)): the whole distribution moves by the entropy. `log` is τ ln π."""
    return values.expect(policy).plus(-(policy * log).sum(-1))


def action_gap(values: Tensor) -> Tensor:
    """(..., A) -> (...): the distance from the best value to the second."""
    best = values.topk(min(2, values.shape[-1]), -1).values
    return best[..., 0] - best[..., -1]


def policy_metrics(values: Tensor, policy: Tensor) -> dict[str, Tensor]:
    """What softness and sparsity show in, (K, *B) each: the share of actions with a probability above zero, the policy's (Shannon)
    entropy in nats, and the action gap."""
    return {
        "train/policy_support": (policy > 0).to(values.dtype).mean(-1),
        "train/policy_entropy": torch.special.entr(policy).sum(-1),
        "train/action_gap": action_gap(values),
    }


def report(backup: Backup, online: View, target: View, batch: Batch) -> dict[str, Tensor]:
    """Metrics of a backup that has some: its method `metrics(online, target, batch)`, pure, tensors of any shape. It should ask the
    views only for a `mean` that the backup has asked for, which costs no further pass, and never for `online.now`: it runs without
    gradient."""
    metrics = getattr(backup, "metrics", None)
    return metrics(online, target, batch) if metrics is not None else {}


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
class Soft(Choice):
    """Entropy-regularised Q-learning (Haarnoja, Tang, Abbeel, Levine, 2017, for discrete actions).

        y = r + γ Σ_b π(b|s') (Q̄(s', b) − τ ln π(b|s'))  =  r + γ τ ln Σ_b exp(Q̄(s', b) / τ),     π = softmax(Q̄(s', ·) / τ)

    Over several steps only the last state's entropy counts. Acting stays ε-greedy.

    Args:
        temperature: τ, in units of Q. 0 is `Max`.
    """

    needs = frozenset({"signed"})

    temperature: float = 0.03

    def __post_init__(self):
        in_range(self, temperature=(0, None))

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        if not self.temperature:
            return Max()(online, target, batch)
        future = soft_value(target.next, *boltzmann(target.next.mean(), self.temperature))
        return future.bootstrap(batch.reward, batch.discount)

    def metrics(self, online: View, target: View, batch: Batch) -> dict[str, Tensor]:
        """Of the target network's policy at s'."""
        values = target.next.mean()
        return policy_metrics(values, boltzmann(values, self.temperature)[0])


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
