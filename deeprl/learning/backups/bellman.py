"""Bellman operators: from predictions at both ends of a transition to the target of the regression.

    (T Q̄)(s, a)  =  reward + discount · E_π Z̄(s', ·)

Z̄ is the return that the target network predicts, and Q̄ its mean; π is the operator's policy, such as the greedy one. `reward` is an n-step
sum and `discount` is γᵐ(1 − terminated). The replay computes both, see `deeprl.types.Batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.learning.backups.policies import boltzmann, greedy, policy_metrics
from deeprl.learning.values.returns import Returns, Values
from deeprl.learning.values.view import View
from deeprl.types import Batch


class Backup(Protocol):
    """Interface of a Bellman operator. A backup may also have a method `metrics(online, target, batch)`, see `backup_metrics`."""

    @property
    def needs(self) -> frozenset[str]:
        """See `Choice.needs`."""

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        """Targets of the regression, atoms (K, *B, N), or (K, C, *B, N) with reward channels.

        Args:
            online, target: the online and the target networks at s and s'.
        """


def soft_value(values: Values, policy: Tensor, scaled_log: Tensor) -> Returns:
    """Σ_b π(b) (Z(b) − τ ln π(b)), atoms (K, *B, N): the entropy term shifts all atoms alike.

    Args:
        policy, scaled_log: π and τ ln π, (K, *B, A).
    """
    return values.expect(policy).plus(-(policy * scaled_log).sum(-1))


def backup_metrics(backup: Backup, online: View, target: View, batch: Batch) -> dict[str, Tensor]:
    """Metrics of a backup, if it has the method `metrics(online, target, batch)`: a pure function that returns tensors of any shape.

    It is called without gradient. It should read only the prediction and means that the backup has read too, because these need no further
    forward pass."""
    metrics = getattr(backup, "metrics", None)
    return metrics(online, target, batch) if metrics is not None else {}


@dataclass(frozen=True)
class Max(Choice):
    """Q-learning (Mnih et al., 2015): each target network evaluates its own greedy action.

    y = reward + discount · max_b Q̄(s', b)
    """

    needs = frozenset({"actions"})
    offers = frozenset({"greedy"})

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        return target.next.expect(greedy(target.next.mean())).bootstrap(batch.reward, batch.discount)


@dataclass(frozen=True)
class Double(Choice):
    """Double Q-learning (van Hasselt, Guez, Silver, 2016): the online network selects the next action, the target network evaluates it. In
    a chain, online network k selects for target network k.

        y = reward + discount · Q̄(s', argmax_b Q(s', b))
    """

    needs = frozenset({"actions"})
    offers = frozenset({"greedy"})

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        return target.next.expect(greedy(online.next.mean())).bootstrap(batch.reward, batch.discount)


@dataclass(frozen=True)
class Soft(Choice):
    """Entropy-regularised Q-learning (Haarnoja, Tang, Abbeel, Levine, 2017, for discrete actions).

        y = reward + discount · Σ_b π(b|s') (Q̄(s', b) − τ ln π(b|s')) = reward + discount · τ ln Σ_b exp(Q̄(s', b) / τ)
        π = softmax(Q̄(s', ·) / τ)

    An n-step target includes the entropy of the last state only. Acting stays ε-greedy.

    Args:
        temperature: τ, in units of Q. 0 is `Max`.
    """

    needs = frozenset({"signed", "actions"})

    temperature: float = 0.03

    def __post_init__(self):
        in_range(self, temperature=(0, None))

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        if not self.temperature:
            return Max()(online, target, batch)
        future = soft_value(target.next, *boltzmann(target.next.mean(), self.temperature))
        return future.bootstrap(batch.reward, batch.discount)

    def metrics(self, online: View, target: View, batch: Batch) -> dict[str, Tensor]:
        """Metrics of the target network's policy at s'."""
        values = target.next.mean()
        return policy_metrics(values, boltzmann(values, self.temperature)[0])
