"""Logistic regression by Newton's method, of few weights: max_w Σ_i [ won_i ln σ(w · x_i) + lost_i ln σ(−w · x_i) ] − ½ ridge ‖w‖²."""

from __future__ import annotations

import numpy as np

RIDGE = 0.1
"""Weight of ½ ‖w‖² beside the log-likelihood of all labels"""
NEWTON = 12
"""Steps, after which a fit of so few weights stands still"""


def fitted(features: np.ndarray, wins: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Weights (F,) of logistic regression: rows of `features` (R, F), of which so many (R,) were won and lost."""
    weights = np.zeros(features.shape[1])
    for _ in range(NEWTON):
        share = 1.0 / (1.0 + np.exp(-features @ weights))
        slope = features.T @ (wins - (wins + losses) * share) - RIDGE * weights
        curve = (features.T * ((wins + losses) * share * (1 - share))) @ features + RIDGE * np.eye(len(weights))
        weights += np.linalg.solve(curve, slope)
    return weights
