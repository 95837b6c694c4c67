"""Classes of kernels for value-targeted regression, and confidence sets of them (Chen and others, ICLR 2024; see `iterated_cvar`). ψ of a
visit has an entry for each known kernel.

Mixture: P = Σ θ_i P_i, ridge regression for θ, width c β ‖ψ‖_{Λ⁻¹}. Finite class, the form of a general one: one of n kernels is true,
least squares over them; the width is the range of ψ over those whose squared distance to the best on the data is at most (c β)². From
memory: the structure is the paper's. Of ours are β = H √(d ln(1 + k H²/(d λ δ))) + √λ and β² = H² ln(n (1 + k)/δ).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, in_range
from deeprl_lab.mathematics import ridge

Stored = dict[str, np.ndarray]


@dataclass(frozen=True)
class ModelClass(Choice):
    """Kernels that may be true, and confidence sets of them. The axis of ψ over kernels is the last.

    Args:
        bonus_scale: c.
        confidence: δ.
    """

    bonus_scale: float = 0.1
    confidence: float = 0.1
    source = "kernels"
    """Attribute of the world with the kernels (d, S, A, S)"""

    def __post_init__(self):
        in_range(self, bonus_scale=(0, None), confidence=(1e-12, 1))

    def statistics(self, horizon: int, d: int) -> Stored:
        """What is learned from, before any data."""
        raise NotImplementedError

    def add(self, stored: Stored, h: int, psi: np.ndarray, target: float) -> None:
        """Learn from ψ (d,) of one visit."""
        raise NotImplementedError

    def estimate(self, stored: Stored, h: int, psi: np.ndarray, horizon: int, episodes: float) -> tuple[np.ndarray, np.ndarray]:
        """ψ (..., d) -> ψ̂ (...) and its width (...)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Mixture(ModelClass):
    """Args:
    lam: λ.
    """

    lam: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        in_range(self, lam=(1e-9, None))

    def statistics(self, horizon, d):
        return {"gram": np.tile(self.lam * np.eye(d), (horizon, 1, 1)), "moment": np.zeros((horizon, d))}

    def add(self, stored, h, psi, target):
        stored["gram"][h] += np.outer(psi, psi)
        stored["moment"][h] += target * psi

    def estimate(self, stored, h, psi, horizon, episodes):
        d, gram = psi.shape[-1], stored["gram"][h]
        beta = horizon * math.sqrt(d * math.log1p(episodes * horizon**2 / (d * self.lam * self.confidence))) + math.sqrt(self.lam)
        width = self.bonus_scale * beta * ridge.widths(np.linalg.inv(gram), psi)
        return psi @ ridge.weights(gram, stored["moment"][h]), width


@dataclass(frozen=True)
class FiniteClass(ModelClass):
    """The world's `candidates`."""

    source = "candidates"

    def statistics(self, horizon, d):
        return {"loss": np.zeros((horizon, d)), "distance": np.zeros((horizon, d, d))}

    def add(self, stored, h, psi, target):
        stored["loss"][h] += (psi - target) ** 2
        stored["distance"][h] += (psi[:, None] - psi) ** 2

    def estimate(self, stored, h, psi, horizon, episodes):
        best = stored["loss"][h].argmin()
        squared = (self.bonus_scale * horizon) ** 2 * math.log(psi.shape[-1] * (1 + episodes) / self.confidence)
        kept = psi[..., stored["distance"][h, best] <= squared]
        return psi[..., best], np.ptp(kept, axis=-1)
