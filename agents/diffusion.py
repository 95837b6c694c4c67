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


def noisy(x: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """x_t of points and normal numbers (..., D), for times (...)."""
    kept = log_alpha(t.unsqueeze(-1)).exp()
    return kept * x + (1.0 - kept.square()).sqrt() * z


def guided(score: Predict, slope: Predict, scale: float = 1.0) -> Predict:
    """x̂ of p(x) e^{scale · β e(x)}, from the score of p_t and ∇f."""

    def predict(x: Tensor, t: float) -> Tensor:
        total = score(x, t) + scale * slope(x, t) if scale else score(x, t)
        return (x + sigma(t) ** 2 * total) / alpha(t)

    return predict


def contrastive(energies: Tensor, predicted: Tensor) -> Tensor:
    """L of K points each, (..., K) and (..., K) -> (...).

    Args:
        energies: β e of the points before the noise.
        predicted: f of the noisy points.
    """
    return -(energies.softmax(-1) * predicted.log_softmax(-1)).sum(-1)
