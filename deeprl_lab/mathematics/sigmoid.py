"""Regression of targets in [0, 1] on a sigmoid of linear features: p = σ(w·φ)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(z / 2)


class Loss(Choice):
    def __call__(self, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) logits and targets -> the loss, its derivative in z, and its second derivative or what stands for it, (n,) each."""
        raise NotImplementedError


@dataclass(frozen=True)
class LogLoss(Loss):
    """−y ln p − (1 − y) ln(1 − p); its derivative is p − y."""

    def __call__(self, z, y):
        p = sigmoid(z)
        return np.logaddexp(0.0, z) - y * z, p - y, p * (1 - p)


@dataclass(frozen=True)
class SquaredLoss(Loss):
    """(p − y)², with Gauss and Newton's curvature; its derivative vanishes where the sigmoid is flat."""

    def __call__(self, z, y):
        p = sigmoid(z)
        slope = p * (1 - p)
        return (p - y) ** 2, 2 * (p - y) * slope, 2 * slope**2


def fitted(loss: Loss, phi: np.ndarray, y: np.ndarray, lam: float, steps: int = 50, tolerance: float = 1e-6) -> np.ndarray:
    """Weights (d,) that minimise the mean loss + ½ λ ‖w‖², by Newton's method with a damping that falls after each success, from zero.

    Args:
        phi, y: features (n, d) and targets (n,).
        tolerance: of the gradient.
    """
    w, damping, eye = np.zeros(phi.shape[1]), 1e-3, np.eye(phi.shape[1])
    if not len(y):
        return w
    value, slope, curvature = loss(phi @ w, y)
    now = float(value.mean())
    for _ in range(steps):
        gradient = slope @ phi / len(y) + lam * w
        if np.abs(gradient).max() < tolerance:
            break
        hessian = phi.T @ (curvature[:, None] * phi) / len(y) + lam * eye
        while damping < 1e6:
            new = w - np.linalg.solve(hessian + damping * eye, gradient)
            value, slope, curvature = loss(phi @ new, y)
            after = float(value.mean() + lam / 2 * new @ new)
            if after <= now:
                break
            damping *= 10
        else:
            break
        w, now, damping = new, after, max(damping / 10, 1e-12)
    return w
