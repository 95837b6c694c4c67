"""Values with one number for each action: unbounded, and between two bounds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.learning.values.losses import binary_entropy, log_loss, outside, squared
from deeprl.learning.values.returns import Returns, pick


class ScalarValues:
    """One number for each action, as in DQN.

    Args:
        q: (K, *B, A), or (K, *B) after `at`.
        distance: function of the error, for instance `losses.squared`.
        features: (torsos, *B, F)
    """

    def __init__(self, q: Tensor, distance: Callable[[Tensor], Tensor], features: Tensor):
        self.q, self.distance, self.features = q, distance, features

    def mean(self) -> Tensor:
        return self.q

    def expect(self, policy: Tensor) -> Returns:
        if policy.dtype == torch.int64:
            return Returns(self.q if self.q.shape[-1] == 1 else self.q.gather(-1, policy.unsqueeze(-1)))
        return Returns((self.q * policy).sum(-1, keepdim=True))

    def at(self, action: Tensor) -> ScalarValues:
        return ScalarValues(pick(self.q, action), self.distance, self.features)

    def entries(self, entries: slice) -> ScalarValues:
        return ScalarValues(self.q[entries], self.distance, self.features)

    def unflatten(self, lead: torch.Size) -> ScalarValues:
        """Split the batch axis: (K, T·B, A) -> (K, T, B, A)."""
        return ScalarValues(self.q.unflatten(1, lead), self.distance, self.features.unflatten(1, lead))

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        mean = target.mean()
        assert mean.shape == self.q.shape, f"target {tuple(mean.shape)} and prediction {tuple(self.q.shape)} differ"
        error = mean - self.q
        return self.distance(error), error.detach().abs()


class BoundedValues:
    """One number for each action between two bounds: q = low + (high − low) σ(logit) (FQI-LOG: Ayoub et al., 2024).

    Targets beyond the bounds are cut off; their share is a metric.

    Args:
        logit: (K, *B, A), or (K, *B) after `at`.
        low, high: bounds of the return.
        distance: from σ(logit) to the target scaled to [0, 1]: `log` for the log-loss, or `squared`, the paper's baseline.
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

    def entries(self, entries: slice) -> BoundedValues:
        return BoundedValues(self.logit[entries], self.low, self.high, self.distance, self.features)

    def unflatten(self, lead: torch.Size) -> BoundedValues:
        return BoundedValues(self.logit.unflatten(1, lead), self.low, self.high, self.distance, self.features.unflatten(1, lead))

    def scaled(self, target: Returns) -> Tensor:
        """Mean of the target, scaled to [0, 1]: (K, *B)."""
        mean = target.mean()
        assert mean.shape == self.logit.shape, f"target {tuple(mean.shape)} and prediction {tuple(self.logit.shape)} differ"
        return ((mean - self.low) / (self.high - self.low)).clamp(0.0, 1.0)

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        """Loss and |error|, both (K, *B). The error is never the log-loss, because the minimum of that depends on the target."""
        scaled = self.scaled(target)
        error = self.logit.sigmoid() - scaled
        loss = log_loss(self.logit, scaled) if self.distance == "log" else squared(error)
        return loss, error.detach().abs() * (self.high - self.low)

    def metrics(self, target: Returns) -> dict[str, Tensor]:
        """`train/excess_loss` is the log-loss minus its minimum, so that a perfect fit has 0."""
        scaled = self.scaled(target)
        return {
            "train/clamped_targets": outside(target.mean().unsqueeze(-1), None, self.low, self.high),
            "train/excess_loss": (log_loss(self.logit, scaled) - binary_entropy(scaled)).detach(),
        }
