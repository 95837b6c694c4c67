"""Weights of integrals from N equally spaced samples, both ends included.

    trapezoid    h (½, 1, …, 1, ½): order 2 in the number of intervals N − 1
    Bayesian     ω = K⁻¹ z,    K_ij = k(t_i − t_j),    z_i = ∫₀ᵀ k(t − t_i) dt        the mean of a Gaussian process given the samples

k is a Matérn kernel with ν = 7/2: k(r) = (1 + a + 2a²/5 + a³/15) e^(−a), a = √7 |r| / ℓ. Weights depend on ℓ / T alone. The mean of the
kernel c + min(s, t) with c → ∞ is the trapezoid rule.
"""

from __future__ import annotations

import numpy as np

JITTER = 1e-14


def trapezoid(samples: int, length: float) -> np.ndarray:
    """Weights (N,)."""
    weights = np.full(samples, length / (samples - 1))
    weights[[0, -1]] /= 2
    return weights


def matern(distance: np.ndarray, scale: float) -> np.ndarray:
    a = np.sqrt(7.0) * np.abs(distance) / scale
    return (1 + a + 2 * a**2 / 5 + a**3 / 15) * np.exp(-a)


def area(to: np.ndarray, scale: float) -> np.ndarray:
    """∫₀^to k(r) dr for to ≥ 0, in closed form."""
    a = np.sqrt(7.0) * to / scale
    inner = 16 / 5 - np.exp(-a) * (16 / 5 + 11 * a / 5 + 3 * a**2 / 5 + a**3 / 15)
    return inner * scale / np.sqrt(7.0)


def bayesian(samples: int, length: float, scale: float) -> np.ndarray:
    """Weights (N,).

    Args:
        scale: ℓ.
    """
    at = np.linspace(0.0, length, samples)
    kernel = matern(at[:, None] - at, scale) + JITTER * np.eye(samples)
    return np.linalg.solve(kernel, area(at, scale) + area(length - at, scale))
