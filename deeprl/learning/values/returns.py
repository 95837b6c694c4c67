"""Interfaces of predictions (`Values`, from networks) and of targets (`Returns`, from backups).

Scalars, categories and quantiles differ as predictions; as targets all of them are weighted atoms. So a backup is written once for all
heads, because it works on `Returns`, and a head once for all backups.
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
        """Mean return, (...)."""
        if self.atoms.shape[-1] == 1:
            return self.atoms.squeeze(-1)
        return self.atoms.mean(-1) if self.probs is None else (self.atoms * self.probs).sum(-1)

    def plus(self, amount: Tensor) -> Returns:
        """Z + amount, with `amount` (K, *B), the same for every channel."""
        if self.atoms.dim() == amount.dim() + 2:
            amount = amount.unsqueeze(1)  # (K, C, *B, N)
        return self._replace(atoms=self.atoms + amount.unsqueeze(-1))

    def bootstrap(self, reward: Tensor, discount: Tensor) -> Returns:
        """reward + discount · Z: reward (*B,), or (C, *B) with channels, and discount (*B,)."""
        return self._replace(atoms=reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.atoms)


class Values(Protocol):
    """Prediction of a value network for a batch of observations; that of a critic has one action.

    Values of a head also have `unflatten(lead)`, which splits the batch axis into the axes `lead`; some have `metrics(target)`, see
    `regression_metrics`.
    """

    features: Tensor
    """(torsos, *B, F)"""

    def mean(self) -> Tensor:
        """Action values (K, *B, A), in ordinary units for every head and mapping; `INVALID` where an action is not valid."""

    def expect(self, policy: Tensor) -> Returns:
        """Return under a policy, atoms (K, *B, N). `policy` holds actions (K, *B) or probabilities (K, *B, A)."""

    def at(self, action: Tensor) -> Values:
        """The values of the actions (*B,), without the axis A."""

    def entries(self, entries: slice) -> Values:
        """The values of some heads, before `at`."""

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        """After `at`: the loss D(f(target), prediction) in the units of the head, and |error| in ordinary units, both (K, *B)."""


def regression_metrics(name: str, loss: Tensor, chosen: Values, target: Returns) -> dict[str, Tensor]:
    """What a regression shows in the log.

    Args:
        name: of the loss (K, *B) in the log.
        chosen: the prediction, after `at`. Most heads add nothing; some have a method `metrics(target)`, numbers (K, *B) each.
    """
    of_head = chosen.metrics(target) if hasattr(chosen, "metrics") else {}
    return {name: loss, "train/q_values": chosen.mean(), **of_head}


def expected(values: Values) -> Tensor:
    """What actions are worth, (K, *B, A): the mean."""
    return values.mean()


def pick(values: Tensor, action: Tensor) -> Tensor:
    """Entries of (K, [C,] *B, A) at the actions (*B,): (K, [C,] *B). A critic has one action, and nothing to choose."""
    if values.shape[-1] == 1:
        return values.squeeze(-1)
    index = action.expand(values.shape[:-1]).unsqueeze(-1)
    return values.gather(-1, index).squeeze(-1)
