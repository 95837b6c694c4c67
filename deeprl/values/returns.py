"""What networks predict (`Values`) and what backups compute (`Returns`).

As predictions, scalars, categories and quantiles differ; as targets all are weighted atoms. So each backup is written once for
all heads (it sees `Returns`), and each head once for all backups (it is a `Values`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


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


def pick(values: Tensor, action: Tensor) -> Tensor:
    """(K, *B, A) at action (*B,): (K, *B)."""
    index = action.expand(values.shape[:-1]).unsqueeze(-1)
    return values.gather(-1, index).squeeze(-1)
