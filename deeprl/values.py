"""What networks predict and what backups compute.

As predictions, scalars, categories and quantiles differ; as targets all are weighted atoms. So each backup is written once for
all heads (it sees `Returns`), and each head once for all backups (it is a `Values`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from deeprl.losses import binary_entropy, log_loss, outside, squared
from deeprl.types import Batch


class Returns(NamedTuple):
    """Distributions of returns: `atoms[..., n]` has probability `probs[..., n]`."""

    atoms: Tensor
    """(..., N)"""
    probs: Tensor | None = None
    """(..., N); None if all atoms are equally likely"""

    def mean(self) -> Tensor:
        """(...)"""
        if self.atoms.shape[-1] == 1:
            return self.atoms.squeeze(-1)
        return self.atoms.mean(-1) if self.probs is None else (self.atoms * self.probs).sum(-1)

    def plus(self, amount: Tensor) -> Returns:
        """Z + amount, `amount` (K, *B), the same for every channel if there are some."""
        if self.atoms.dim() == amount.dim() + 2:
            amount = amount.unsqueeze(1)  # (K, C, *B, N)
        return self._replace(atoms=self.atoms + amount.unsqueeze(-1))

    def bootstrap(self, reward: Tensor, discount: Tensor) -> Returns:
        """reward + discount · Z, both (*B,)."""
        return self._replace(atoms=reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.atoms)


class Values(Protocol):
    """What a discrete-action network says of a batch of observations."""

    features: Tensor
    """(torsos, *B, F)"""

    def mean(self) -> Tensor:
        """(K, *B, A), in ordinary units whatever the head or mapping."""

    def expect(self, policy: Tensor) -> Returns:
        """`policy` is (K, *B) of chosen actions or (K, *B, A) of probabilities; atoms (K, *B, N)."""

    def at(self, action: Tensor) -> Values:
        """The values of one action, (*B,): drops the axis A."""

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        """After `at`: loss and |error| in ordinary units, both (K, *B)."""

    # A head that has something to log may have `metrics(target) -> dict[str, Tensor]`, after `at`; whoever logs asks for it.


class ScalarValues:
    """One number for each action, as in DQN.

    Args:
        q: (K, *B, A), or (K, *B) after `at`.
        distance: of the error, for instance `losses.squared`.
        features: (torsos, *B, F)
    """

    def __init__(self, q: Tensor, distance: Callable[[Tensor], Tensor], features: Tensor):
        self.q, self.distance, self.features = q, distance, features

    def mean(self) -> Tensor:
        return self.q

    def expect(self, policy: Tensor) -> Returns:
        if policy.dtype == torch.int64:
            return Returns(self.q.gather(-1, policy.unsqueeze(-1)))
        return Returns((self.q * policy).sum(-1, keepdim=True))

    def at(self, action: Tensor) -> ScalarValues:
        return ScalarValues(pick(self.q, action), self.distance, self.features)

    def unflatten(self, lead: torch.Size) -> ScalarValues:
        """Give (K, T·B, A) its axes (K, T, B, A) back."""
        return ScalarValues(self.q.unflatten(1, lead), self.distance, self.features.unflatten(1, lead))

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        goal = target.mean()
        assert goal.shape == self.q.shape, f"target {tuple(goal.shape)} and prediction {tuple(self.q.shape)} differ"
        error = goal - self.q
        return self.distance(error), error.detach().abs()


class BoundedValues:
    """One number for each action between two bounds: q = low + (high − low) σ(logit) (FQI-LOG: Ayoub et al., 2024).

    Targets beyond the bounds are cut off; how many is a metric.

    Args:
        logit: (K, *B, A), or (K, *B) after `at`.
        low, high: of returns.
        distance: of σ(logit) to the target scaled to [0, 1]: `log` for the log-loss, or `squared`, the paper's baseline.
        features: (torsos, *B, F)
    """

    def __init__(self, logit: Tensor, low: float, high: float, distance: str, features: Tensor):
        self.logit, self.low, self.high, self.distance, self.features = logit, low, high, distance, features

    def mean(self) -> Tensor:
        return self.low + (self.high - self.low) * self.logit.sigmoid()

    def expect(self, policy: Tensor) -> Returns:
        return ScalarValues(self.mean(), squared, self.features).expect(policy)

    def at(self, action: Tensor) -> BoundedValues:
        return BoundedValues(pick(self.logit, action), self.low, self.high, self.distance, self.features)

    def unflatten(self, lead: torch.Size) -> BoundedValues:
        return BoundedValues(self.logit.unflatten(1, lead), self.low, self.high, self.distance, self.features.unflatten(1, lead))

    def goal(self, target: Returns) -> Tensor:
        """The target's mean in [0, 1], (K, *B)."""
        mean = target.mean()
        assert mean.shape == self.logit.shape, f"target {tuple(mean.shape)} and prediction {tuple(self.logit.shape)} differ"
        return ((mean - self.low) / (self.high - self.low)).clamp(0.0, 1.0)

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        """The error is never the log-loss, whose least value depends on the target."""
        goal = self.goal(target)
        error = self.logit.sigmoid() - goal
        loss = log_loss(self.logit, goal) if self.distance == "log" else squared(error)
        return loss, error.detach().abs() * (self.high - self.low)

    def metrics(self, target: Returns) -> dict[str, Tensor]:
        """`train/excess_loss` is the log-loss above its least value, 0 at a perfect fit."""
        goal = self.goal(target)
        return {
            "train/clamped_targets": outside(target.mean().unsqueeze(-1), None, self.low, self.high),
            "train/excess_loss": (log_loss(self.logit, goal) - binary_entropy(goal)).detach(),
        }


def pick(values: Tensor, action: Tensor) -> Tensor:
    """(K, *B, A) at action (*B,): (K, *B)."""
    index = action.expand(values.shape[:-1]).unsqueeze(-1)
    return values.gather(-1, index).squeeze(-1)


class View:
    """One network at both ends of a batch. `now` and `next` are evaluated at most once, when somebody asks."""

    def __init__(self, network: nn.Module, batch: Batch, side: str):
        self.network, self.batch, self.side = network, batch, side
        self._now: Values | None = None
        self._next: Values | None = None

    # no cached_property: up to Python 3.11 it takes a lock, which torch.compile cannot trace

    @property
    def now(self) -> Values:
        if self._now is None:
            self._now = self.network(self.batch.obs, under(self.batch.noise, f"{self.side}.now."))
        return self._now

    @property
    def next(self) -> Values:
        if self._next is None:
            self._next = self.network(self.batch.next_obs, under(self.batch.noise, f"{self.side}.next."))
        return self._next


def under(noise: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below a prefix, which is cut off."""
    return {name[len(prefix) :]: value for name, value in noise.items() if name.startswith(prefix)} if noise else noise
