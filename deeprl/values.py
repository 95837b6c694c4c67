"""What networks predict and what backups compute.

As predictions, scalars, categories and quantiles differ; as targets all are weighted atoms. So each backup is written once for
all heads (it sees `Returns`), and each head once for all backups (it is a `Values`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

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
        """Z + amount, `amount` (...)."""
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
