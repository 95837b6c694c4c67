"""Regularised least squares and its confidence widths. d is the number of features; leading axes are separate problems.

Λ = λ I + Σ φ φᵀ        w = Λ⁻¹ Σ φ y        width = ‖φ‖_{Λ⁻¹} = √(φᵀ Λ⁻¹ φ)        det(Λ + φ φᵀ) = det Λ (1 + φᵀ Λ⁻¹ φ)
"""

from __future__ import annotations

import numpy as np


def weights(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """(..., d, d) Λ and (..., d) Σ φ y -> (..., d) w."""
    return np.linalg.solve(gram, moment[..., None])[..., 0]


def widths(inverse: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(..., d, d) Λ⁻¹ and (..., d) φ -> (...) ‖φ‖_{Λ⁻¹}."""
    return np.sqrt(np.maximum(np.einsum("...i,...ij,...j->...", features, inverse, features), 0.0))


def extended(inverse: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, float]:
    """(d, d) Λ⁻¹ and (d,) φ -> (Λ + φ φᵀ)⁻¹, and det(Λ + φ φᵀ) / det Λ (Sherman, Morrison)."""
    along = inverse @ features
    ratio = 1.0 + float(features @ along)
    return inverse - np.outer(along, along) / ratio, ratio
