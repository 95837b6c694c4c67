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


def optimal_design(features: np.ndarray, tolerance: float = 0.01) -> np.ndarray:
    """Shares (n,) of samples of rows (n, d) of which every ‖φ‖² in the inverse of Σ ρ φ φᵀ is at most (1 + tolerance) times the rank of the
    features, by Frank and Wolfe's method on log det; the smallest possible is the rank (Kiefer, Wolfowitz)."""
    left, size, _ = np.linalg.svd(features, full_matrices=False)
    basis = left[:, size > 1e-10 * size[0]]  # orthonormal columns span what the features span
    rank, rho = basis.shape[1], np.full(len(basis), 1.0 / len(basis))
    while True:
        squared = np.einsum("ni,ij,nj->n", basis, np.linalg.inv(basis.T @ (rho[:, None] * basis)), basis)
        top = squared.argmax()
        if squared[top] <= (1 + tolerance) * rank:
            return rho
        step = (squared[top] / rank - 1) / (squared[top] - 1)
        rho *= 1 - step
        rho[top] += step
