"""Predictions of return distributions: categories on fixed atoms, and quantiles at fixed or drawn fractions.

`expect` averages over actions: the probabilities of categories (a mixture), the values of quantiles (M-IQN's form). `loss` takes any number
of weighted atoms, from any head and backup.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.learning.values.losses import cross_entropy, outside, project_atoms, quantile_huber
from deeprl.learning.values.returns import Returns


def pick_atoms(values: Tensor, action: Tensor) -> Tensor:
    """Entries of (K, *B, A, N) at actions (*B,) or (K, *B): (K, *B, N). A critic has one action, and nothing to choose."""
    if values.shape[-2] == 1:
        return values.squeeze(-2)
    index = action.expand(values.shape[:-2])[..., None, None].expand(*values.shape[:-2], 1, values.shape[-1])
    return values.gather(-2, index).squeeze(-2)


def check_aligned(target: Returns, prediction: Tensor) -> None:
    """Check atoms (K, *B, N') against a prediction (K, *B, N), because a missing axis would broadcast."""
    lead, expected = target.atoms.shape[:-1], prediction.shape[:-1]
    assert lead == expected, f"target {tuple(lead)} and prediction {tuple(expected)} differ"


def error_of_means(quantiles: Tensor, target: Returns) -> Tensor:
    """|mean of T − mean of θ|, (..., N) -> (...)."""
    return (target.mean() - quantiles.mean(-1)).abs()


def error_of_pairs(quantiles: Tensor, target: Returns) -> Tensor:
    """Σ_i mean_j |T_j − θ_i|, (..., N) -> (...), the quantile loss without weights and without Huber's parabola."""
    each = (target.atoms.unsqueeze(-2) - quantiles.unsqueeze(-1)).abs()  # (..., N, N')
    return (each.mean(-1) if target.probs is None else (each * target.probs.unsqueeze(-2)).sum(-1)).sum(-1)


Error = Callable[[Tensor, Returns], Tensor]
ERRORS: dict[str, Error] = {"means": error_of_means, "pairs": error_of_pairs}
"""Errors of quantiles, which priorities follow"""


class CategoricalValues:
    """Probabilities of N evenly spaced returns (C51: Bellemare, Dabney, Munos, 2017).

    Args:
        logits: (K, *B, A, N), or (K, *B, N) after `at`.
        support: (N,) the returns.
        low, high: ends of the support.
        features: (torsos, *B, F)
    """

    def __init__(self, logits: Tensor, support: Tensor, low: float, high: float, features: Tensor):
        self.logits, self.support, self.low, self.high, self.features = logits, support, low, high, features

    def mean(self) -> Tensor:
        return (self.logits.softmax(-1) * self.support).sum(-1)

    def returns(self) -> Returns:
        return Returns(self.support.expand_as(self.logits), self.logits.softmax(-1))

    def expect(self, policy: Tensor) -> Returns:
        probs = self.logits.softmax(-1)
        mixed = pick_atoms(probs, policy) if policy.dtype == torch.int64 else (policy.unsqueeze(-1) * probs).sum(-2)
        return Returns(self.support.expand_as(mixed), mixed)

    def at(self, action: Tensor) -> CategoricalValues:
        return CategoricalValues(pick_atoms(self.logits, action), self.support, self.low, self.high, self.features)

    def entries(self, entries: slice) -> CategoricalValues:
        return CategoricalValues(self.logits[entries], self.support, self.low, self.high, self.features)

    def unflatten(self, lead: torch.Size) -> CategoricalValues:
        return CategoricalValues(self.logits.unflatten(1, lead), self.support, self.low, self.high, self.features.unflatten(1, lead))

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        """Cross-entropy with the projected target, and |error|, both (K, *B). The cross-entropy includes its constant, the target's
        entropy. The error is the distance to the mean of the projected target, because the part that the projection cuts off cannot be
        learned and must not raise the priority."""
        check_aligned(target, self.logits)
        projected = project_atoms(target.atoms, target.probs, self.low, self.high, self.support.shape[0])  # (K, *B, N)
        error = (projected * self.support).sum(-1) - self.mean().detach()
        return cross_entropy(self.logits, projected), error.abs()

    def metrics(self, target: Returns) -> dict[str, Tensor]:
        """The probability of targets beyond the support."""
        return {"train/clamped_targets": outside(target.atoms, target.probs, self.low, self.high)}


class QuantileValues:
    """Quantiles of the return at N fractions (QR-DQN: Dabney, Rowland, Bellemare, Munos, 2018).

    Args:
        quantiles: (K, *B, A, N), or (K, *B, N) after `at`.
        fractions: (N,), or (*B, N) if each sample has its own.
        kappa: of `losses.quantile_huber`.
        features: (torsos, *B, F)
        error: of `ERRORS`.
    """

    def __init__(self, quantiles: Tensor, fractions: Tensor, kappa: float, features: Tensor, error: Error = error_of_means):
        self.quantiles, self.fractions, self.kappa, self.features, self.error = quantiles, fractions, kappa, features, error

    def mean(self) -> Tensor:
        return self.quantiles.mean(-1)

    def returns(self) -> Returns:
        return Returns(self.quantiles)

    def expect(self, policy: Tensor) -> Returns:
        if policy.dtype == torch.int64:
            return Returns(pick_atoms(self.quantiles, policy))
        return Returns((policy.unsqueeze(-1) * self.quantiles).sum(-2))

    def at(self, action: Tensor) -> QuantileValues:
        return QuantileValues(pick_atoms(self.quantiles, action), self.fractions, self.kappa, self.features, self.error)

    def entries(self, entries: slice) -> QuantileValues:
        return QuantileValues(self.quantiles[entries], self.fractions, self.kappa, self.features, self.error)

    def unflatten(self, lead: torch.Size) -> QuantileValues:
        features = self.features.unflatten(1, lead)
        return QuantileValues(self.quantiles.unflatten(1, lead), self.fractions, self.kappa, features, self.error)

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        """Quantile Huber loss, and |error| by `error`, both (K, *B)."""
        check_aligned(target, self.quantiles)
        error = self.error(self.quantiles.detach(), target)
        return quantile_huber(self.quantiles, self.fractions, target.atoms, target.probs, self.kappa), error


class ImplicitValues:
    """Quantiles at any fractions, which a network takes as an input (IQN: Dabney, Ostrovski, Silver, Munos, 2018).

    Two sets of fractions are drawn independently. `mean`, and so every greedy action and policy, averages over `policy_fractions` (τ̃ in the
    paper); `expect` and `loss` use `sample_fractions` (τ in a prediction, τ' in a target). One set for both would overestimate the greedy
    action, because its value would come from the quantiles that selected it. Each set is evaluated at its first use, `policy_fractions` at
    most once with a gradient and once without.

    Args:
        evaluate: fractions (B, n) -> quantiles (K, B, A, n).
        policy_fractions, sample_fractions: (B, n) with a different n each.
        kappa: of `losses.quantile_huber`.
        features: (torsos, B, F)
        lead: axes into which `unflatten` splits B; None before.
        error: of `ERRORS`.
    """

    def __init__(
        self,
        evaluate: Callable[[Tensor], Tensor],
        policy_fractions: Tensor,
        sample_fractions: Tensor,
        kappa: float,
        features: Tensor,
        lead: torch.Size | None = None,
        error: Error = error_of_means,
    ):
        self.evaluate, self.kappa, self.features, self.lead, self.error = evaluate, kappa, features, lead, error
        self.policy_fractions, self.sample_fractions = policy_fractions, sample_fractions
        self._mean: tuple[Tensor, bool] | None = None

    def mean(self) -> Tensor:
        wanted = torch.is_grad_enabled()
        if self._mean is None or wanted > self._mean[1]:  # one that was made without a gradient has none for those who want it
            self._mean = self._quantiles(self.policy_fractions).mean(), wanted
        return self._mean[0]

    def returns(self) -> Returns:
        return self._quantiles(self.policy_fractions).returns()

    def expect(self, policy: Tensor) -> Returns:
        return self._quantiles(self.sample_fractions).expect(policy)

    def at(self, action: Tensor) -> QuantileValues:
        """Quantiles of one action at the fractions `sample_fractions`."""
        return self._quantiles(self.sample_fractions).at(action)

    def entries(self, entries: slice) -> ImplicitValues:
        def some(fractions: Tensor) -> Tensor:
            return self.evaluate(fractions)[entries]

        return ImplicitValues(some, self.policy_fractions, self.sample_fractions, self.kappa, self.features, self.lead, self.error)

    def unflatten(self, lead: torch.Size) -> ImplicitValues:
        features = self.features.unflatten(1, lead)
        return ImplicitValues(self.evaluate, self.policy_fractions, self.sample_fractions, self.kappa, features, lead, self.error)

    def _quantiles(self, fractions: Tensor) -> QuantileValues:
        quantiles = self.evaluate(fractions)
        if self.lead is not None:
            quantiles, fractions = quantiles.unflatten(1, self.lead), fractions.unflatten(0, self.lead)
        return QuantileValues(quantiles, fractions, self.kappa, self.features, self.error)
