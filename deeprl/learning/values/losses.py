"""Distances between a prediction and its target. Pure functions of tensors, no reduction over the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.types import Batch


def squared(error: Tensor) -> Tensor:
    """error², (...) -> (...), without the factor ½, as in the DQN implementations of Dopamine and i-QN."""
    return error * error


def huber(error: Tensor, threshold: float = 1.0) -> Tensor:
    """½ error² up to `threshold`, linear beyond it, (...) -> (...); at threshold 1 the gradient is that of Nature DQN's error clipping."""
    inside = error.abs().clamp(max=threshold)
    return inside * (error.abs() - 0.5 * inside)


def log_loss(logit: Tensor, target: Tensor) -> Tensor:
    """−y ln p − (1 − y) ln(1 − p) with p = σ(logit) and y = `target` in [0, 1] (FQI-LOG: Ayoub et al., 2024). Its gradient is p − y; its
    minimum is the entropy of y, not 0."""
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")


def binary_entropy(target: Tensor) -> Tensor:
    """−y ln y − (1 − y) ln(1 − y), the minimum of `log_loss` over all predictions."""
    return torch.special.entr(target) + torch.special.entr(1.0 - target)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−Σ_i m_i ln p_i with p = softmax(logits), both (..., N) -> (...). Its gradient is p − m, saturated atoms included."""
    return -(target * logits.log_softmax(-1)).sum(-1)


def project_atoms(atoms: Tensor, probs: Tensor | None, low: float, high: float, number: int) -> Tensor:
    """Projection of a distribution onto `number` evenly spaced atoms from `low` to `high` (Bellemare, Dabney, Munos, 2017, eq. 7).

        m_i = Σ_j p_j max(0, 1 − |clip(z_j) − z_i| / Δ)

    The projection keeps the mass, and the mean unless atoms outside are cut off. An atom on the grid gives all its mass to its own place. Δ
    is not a difference of float32 numbers, so that no mass leaves the grid.

    Args:
        atoms: (..., N')
        probs: (..., N'), or None if all are equally likely.

    Returns:
        (..., number)
    """
    place = ((atoms.clamp(low, high) - low) * ((number - 1) / (high - low))).clamp(0.0, number - 1.0)  # in units of Δ
    lower = place.floor()
    mass = torch.full_like(place, 1.0 / place.shape[-1]) if probs is None else probs
    above = mass * (place - lower)
    rows = place.shape[:-1].numel()
    # one flat sum, because a GPU has a deterministic form of it
    first = torch.arange(rows, device=place.device).view(*place.shape[:-1], 1) * number + lower.long()
    second = first + (lower < number - 1).long()
    index, share = torch.cat((first, second), -1), torch.cat((mass - above, above), -1)
    return place.new_zeros(rows * number).index_add(0, index.flatten(), share.flatten()).view(*place.shape[:-1], number)


def outside(atoms: Tensor, probs: Tensor | None, low: float, high: float) -> Tensor:
    """Probability (...) of the atoms (..., N') outside [low, high]."""
    beyond = ((atoms < low) | (atoms > high)).to(atoms.dtype)
    return beyond.mean(-1) if probs is None else (probs * beyond).sum(-1)


def quantile_huber(predicted: Tensor, fractions: Tensor, atoms: Tensor, probs: Tensor | None = None, kappa: float = 1.0) -> Tensor:
    """Asymmetric Huber distance of N predicted quantiles to N' target atoms (Dabney et al., 2018, QR-DQN and IQN).

        Σ_i mean_j |τ_i − 1{u_ij < 0}| H_κ(u_ij) / κ,      u_ij = T_j − θ_i

    It is a sum over predicted quantiles and a mean over target atoms. At κ = 0 it is the plain quantile loss |τ − 1{u < 0}| |u|. QR-DQN's
    paper omits 1/κ, which makes no difference at κ = 1.

    Args:
        predicted: θ (..., N).
        fractions: τ, broadcasts to (..., N).
        atoms, probs: T (..., N') and their probabilities, None if all are equally likely.

    Returns:
        (...)
    """
    error = atoms.unsqueeze(-2) - predicted.unsqueeze(-1)  # (..., N, N')
    tilt = (fractions.unsqueeze(-1) - (error.detach() < 0).to(error.dtype)).abs()
    each = tilt * (huber(error, kappa) / kappa if kappa else error.abs())
    return (each.mean(-1) if probs is None else (each * probs.unsqueeze(-2)).sum(-1)).sum(-1)


def average(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (K, *B) over the valid rows *B: (K,)."""
    flat, mask = values.flatten(1), valid.flatten().to(values.dtype)
    return (flat * mask).sum(-1) / mask.sum().clamp(min=1.0)


def weighted(weight: Tensor, loss: Tensor) -> Tensor:
    """weight · loss, (K, *B).

    Raises:
        ValueError: the weight has another shape, as (B, 1), with which each loss would have the sum of all weights.
    """
    product = weight * loss
    if product.shape != loss.shape:
        raise ValueError(f"weights of shape {tuple(weight.shape)} do not go with losses of {tuple(loss.shape)}, a number for each of them")
    return product


def weighed(loss: Tensor, batch: Batch) -> Tensor:
    """Mean of weight · loss over the valid rows, (*B,) -> ()."""
    return average((batch.weight * loss).unsqueeze(0), batch.valid).sum()


def over_valid(values: Tensor, valid: Tensor) -> Tensor:
    """Numbers of rows, (*B) or (K, *B), scaled so that their mean over all rows is the mean over the valid ones, because metrics are
    averaged over all rows. Numbers of something else are returned unchanged, as all are in batches without a time axis, whose rows are all
    valid."""
    if valid.dim() < 2 or values.shape[-valid.dim() :] != valid.shape:
        return values
    return torch.where(valid, values, 0.0) * (valid.numel() / valid.sum().clamp(min=1))
