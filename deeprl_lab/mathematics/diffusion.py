"""Sampling from a diffusion model whose density is multiplied by the exponential of an energy.

Variance-preserving schedule, t in [0.001, 1]:

    x_t = α_t x + σ_t z,     ln α_t = −¼ t² (β₁ − β₀) − ½ t β₀,     σ_t = √(1 − α_t²),     λ_t = ln(α_t / σ_t)

DPM-Solver++ (Lu and others, 2022), single-step, of order 2, from the data prediction x̂(x, t) = E[x | x_t], with h = λ_t − λ_s:

    s → t       x_t = (σ_t/σ_s) x_s − α_t (e^{−h} − 1) x̂(x_s, s)
    s → m → t   u = s → m;   x_t = (s → t) − α_t (e^{−h} − 1) / (2 r) · ( x̂(u, m) − x̂(x_s, s) ),     r = (λ_m − λ_s) / h

Contrastive energy prediction (Lu, Chen, Chen, Su, Li, Zhu, Contrastive Energy Prediction for Exact Energy-Guided Diffusion Sampling in
Offline Reinforcement Learning, 2023): samples of p(x) e^{β e(x)} have the score of p_t plus ∇ f(x_t, t), where f is the minimum of

    L = − mean Σ_k softmax_k( β e(x_k) ) log softmax_k( f(x_{k,t}, t) )            one t for the K points of a set

Regression of β e on noisy points, the usual way, gives E[β e | x_t] in place of log E[e^{β e} | x_t], which is less. The functions take
arrays of NumPy or tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

SLOW, FAST = 0.1, 20.0
"""β₀ and β₁"""
LAST = 1e-3
"""The time at which sampling ends"""
Predict = Callable[[Any, float], Any]
"""Points (..., D) at a time -> x̂, (..., D)"""


def log_alpha(t: Any) -> Any:
    return -0.25 * t**2 * (FAST - SLOW) - 0.5 * t * SLOW


def alpha(t: float) -> float:
    return math.exp(log_alpha(t))


def sigma(t: float) -> float:
    return math.sqrt(-math.expm1(2.0 * log_alpha(t)))


def half_log_snr(t: float) -> float:
    """λ_t, which falls with t."""
    return log_alpha(t) - math.log(sigma(t))


def time_of(half: float) -> float:
    """The t of a λ."""
    f = math.log1p(math.exp(-2.0 * half))
    return (-SLOW + math.sqrt(SLOW**2 + 2.0 * (FAST - SLOW) * f)) / (FAST - SLOW)


def first_order(x: Any, s: float, t: float, predicted: Any) -> Any:
    """x_t from x_s and x̂(x_s, s)."""
    h = half_log_snr(t) - half_log_snr(s)
    return sigma(t) / sigma(s) * x - alpha(t) * math.expm1(-h) * predicted


def second_order(x: Any, s: float, m: float, t: float, predict: Predict) -> Any:
    """x_t from x_s, with an evaluation at m between."""
    h = half_log_snr(t) - half_log_snr(s)
    r = (half_log_snr(m) - half_log_snr(s)) / h
    here = predict(x, s)
    between = predict(first_order(x, s, m, here), m)
    return first_order(x, s, t, here) - alpha(t) * math.expm1(-h) / (2.0 * r) * (between - here)


def sample(predict: Predict, x: Any, evaluations: int = 15) -> Any:
    """Points at t = 0.001 from normal ones at t = 1. Times are uniform; each step of order 2 takes two of their intervals, and what is left
    at the end, one or two, are steps of order 1.

    Args:
        x: (..., D)
        evaluations: of `predict`.
    """
    times = np.linspace(1.0, LAST, evaluations + 1).tolist()
    pairs = (evaluations - 1) // 2
    for i in range(pairs):
        start, middle, end = times[2 * i : 2 * i + 3]
        x = second_order(x, start, middle, end, predict)
    for s, t in pairwise(times[2 * pairs :]):
        x = first_order(x, s, t, predict(x, s))
    return x


def guided(score: Predict, energy: Callable[[Tensor, float], Tensor], scale: float = 1.0) -> Predict:
    """x̂ of p(x) e^{scale · β e(x)}, from the score of p_t and f, points (..., D) at a time -> (...)."""

    def predict(x: Tensor, t: float) -> Tensor:
        total = score(x, t)
        if scale:
            with torch.enable_grad():
                noisy = x.detach().requires_grad_(True)
                (slope,) = torch.autograd.grad(energy(noisy, t).sum(), noisy)
            total = total + scale * slope
        return (x + sigma(t) ** 2 * total) / alpha(t)

    return predict


def contrastive(energies: Tensor, predicted: Tensor) -> Tensor:
    """L of K points each, (..., K) and (..., K) -> (...).

    Args:
        energies: β e of the points before the noise.
        predicted: f of the noisy points.
    """
    return -(energies.softmax(-1) * predicted.log_softmax(-1)).sum(-1)


# ---- eight Gaussians on a circle, with the energies 0, 1/7 … 1

MODES = np.array([(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)], dtype=np.float64)
CENTRES = 4.0 / math.sqrt(2.0) * MODES / np.linalg.norm(MODES, axis=1, keepdims=True)
SPREAD = 0.5 / math.sqrt(2.0)
"""Standard deviation of each, as all coordinates are divided by √2"""
ENERGIES = np.arange(8) / 7.0


def nearest(points: np.ndarray) -> np.ndarray:
    """Mode of each point, (n, 2) -> (n,)."""
    return np.square(points[:, None] - CENTRES).sum(-1).argmin(1)


def masses(points: np.ndarray) -> np.ndarray:
    """Share of the points at each mode, (8,)."""
    return np.bincount(nearest(points), minlength=8) / len(points)


def exact_masses(beta: float) -> np.ndarray:
    """Of p(x) e^{β e(x)}, (8,)."""
    weights = np.exp(beta * ENERGIES)
    return weights / weights.sum()


def total_variation(one: np.ndarray, other: np.ndarray) -> float:
    return 0.5 * float(np.abs(one - other).sum())


def mixture_score(x: Tensor, t: float) -> Tensor:
    """∇ log p_t of the eight Gaussians, (n, 2)."""
    centres = alpha(t) * torch.as_tensor(CENTRES, dtype=x.dtype)
    variance = (alpha(t) * SPREAD) ** 2 + sigma(t) ** 2
    apart = centres - x[:, None]  # (n, 8, 2)
    mine = (-0.5 * apart.square().sum(-1) / variance).softmax(-1)
    return (mine.unsqueeze(-1) * apart).sum(1) / variance
