"""Lower bound of a policy's return from N episodes of another one, by importance sampling (Metelli, Papini, Faccio, Restelli, 2018).

    (1/N) Σ_i w_i G_i − √((1−δ)/δ) √(d₂/N) max_i |G_i|                w_i: likelihood ratio,  d₂ = exp D₂(π ‖ π₀)

G_i: returns, less their mean over the batch if `center`. d₂ is the exponentiated Rényi divergence of order 2:
ln d₂ of Gaussians is (μ−μ₀)²/v + ln(σ₀²/(σ√v)), v = 2σ₀² − σ², infinite where v ≤ 0; of categories ln Σ π²/π₀.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.learning.parts.whole_episodes import WholeEpisodes


def gaussian_log_d2(mean: Tensor, log_std: Tensor, old_mean: Tensor, old_log_std: Tensor) -> Tensor:
    """ln d₂ of independent Gaussians, (*B,), of means (*B, D) and log σ (D,)."""
    v = 2.0 * (2.0 * old_log_std).exp() - (2.0 * log_std).exp()
    inside = v > 0
    safe = torch.where(inside, v, 1.0)
    found = (mean - old_mean).square() / safe + 2.0 * old_log_std - log_std - 0.5 * safe.log()
    return torch.where(inside, found, torch.inf).sum(-1)


def categorical_log_d2(logits: Tensor, old_logits: Tensor) -> Tensor:
    """ln Σ π²/π₀, (*B,), of logits (*B, A)."""
    return (2.0 * logits.log_softmax(-1) - old_logits.log_softmax(-1)).nan_to_num(neginf=-torch.inf).logsumexp(-1)


def trust(delta: float) -> float:
    """√((1−δ)/δ)"""
    return ((1.0 - delta) / delta) ** 0.5


def lower_bound(episodes: WholeEpisodes, center: bool, log_ratio: Tensor, d2: Tensor, delta: float) -> Tensor:
    """()

    Args:
        center: returns without their mean.
        log_ratio: ln w, (N,).
        d2: ().
    """
    reward = episodes.discounted
    returns = (reward / episodes.counts).sum(0) * reward.shape[1]  # equal lengths: G_i
    returns = returns - returns.mean() if center else returns
    return (log_ratio.exp() * returns).mean() - trust(delta) * (d2 / len(returns)).sqrt() * returns.abs().max()
