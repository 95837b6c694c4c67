"""What a random outcome is worth: optimised certainty equivalents (Ben-Tal, Teboulle).

OCE(X) = max_λ { λ + E u(X − λ) },    u concave, not decreasing, u(0) = 0, with slope 1 possible in 0

mean           u(t) = t
CVaR_τ         u(t) = min(t, 0) / τ                                  mean of the worst share τ
entropic       u(t) = (1 − e^(−bt)) / b                              −(1/b) ln E e^(−bX)
mean-variance  u(t) = t − c t² up to 1/(2c), then constant           mean − c variance, while X − E X ≤ 1/(2c)
piecewise      u(t) = κ₁ t above 0, κ₂ t below, κ₁ ≤ 1 ≤ κ₂          κ₁ mean + (1 − κ₁) CVaR_τ, τ = (1 − κ₁)/(κ₂ − κ₁)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, in_range
from deeprl_lab.mathematics.concave import maximum


class Risk(Choice):
    """Base of the measures. `worth` computes any of them from its utility; most have a closed form."""

    def utility(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def worth(self, p: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Probabilities (..., S) and outcomes (..., S) -> (...)."""
        p, x = np.broadcast_arrays(p, x)
        return maximum(lambda level: level + (p * self.utility(x - level[..., None])).sum(-1), x.min(-1), x.max(-1))

    def loss(self, size: float) -> float:
        """|u(−size)|: the loss that u sees if an outcome falls short by `size`, which scales the errors of estimates."""
        return float(-self.utility(np.array(-size)))


@dataclass(frozen=True)
class Mean(Risk):
    """No risk."""

    def utility(self, t):
        return t

    def worth(self, p, x):
        return (p * x).sum(-1)


@dataclass(frozen=True)
class CVaR(Risk):
    """Args:
    tau: the worst share of outcomes whose mean is taken; 1 is the mean.
    """

    tau: float = 0.25

    def __post_init__(self):
        in_range(self, tau=(1e-6, 1))

    def utility(self, t):
        return np.minimum(t, 0.0) / self.tau

    def worth(self, p, x):
        p, x = np.broadcast_arrays(p, x)
        order = np.argsort(x, axis=-1, kind="stable")
        p, x = np.take_along_axis(p, order, -1), np.take_along_axis(x, order, -1)
        before = p.cumsum(-1) - p
        return (np.clip(self.tau - before, 0.0, p) * x).sum(-1) / self.tau


@dataclass(frozen=True)
class Entropic(Risk):
    """Args:
    b: aversion, above 0.
    """

    b: float = 1.0

    def __post_init__(self):
        in_range(self, b=(1e-6, None))

    def utility(self, t):
        return -np.expm1(-self.b * t) / self.b

    def worth(self, p, x):
        p, x = np.broadcast_arrays(p, x)
        low = x.min(-1)
        return low - np.log((p * np.exp(-self.b * (x - low[..., None]))).sum(-1)) / self.b


@dataclass(frozen=True)
class MeanVariance(Risk):
    """Args:
    c: price of variance, above 0.
    """

    c: float = 0.5

    def __post_init__(self):
        in_range(self, c=(1e-6, None))

    def utility(self, t):
        t = np.minimum(t, 0.5 / self.c)
        return t - self.c * t**2


@dataclass(frozen=True)
class Piecewise(Risk):
    """Args:
    gain, loss_aversion: κ₁ and κ₂, the slopes of u above and below 0.
    """

    gain: float = 0.5
    loss_aversion: float = 1.5

    def __post_init__(self):
        in_range(self, gain=(0, 1), loss_aversion=(1, None))

    def utility(self, t):
        return np.where(t > 0, self.gain, self.loss_aversion) * t

    def worth(self, p, x):
        if self.gain == 1 or self.loss_aversion == 1:
            return Mean().worth(p, x)
        tail = CVaR((1 - self.gain) / (self.loss_aversion - self.gain))
        return self.gain * Mean().worth(p, x) + (1 - self.gain) * tail.worth(p, x)
