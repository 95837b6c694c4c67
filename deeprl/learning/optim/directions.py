"""Directions and lengths of steps over flat parameters: second derivatives by products, normalised steps, a line search. Pure functions.

    H u = ∇⟨∇f, u⟩          F u = E[ ∇log p ⟨∇log p, u⟩ ]           neither matrix is ever formed

Parameters are a list of tensors; a flat vector (P,) has them in their order, as `deeprl.learning.optim.flat` has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""(P,) -> (P,): a matrix times a vector"""


def as_flat(tensors: Sequence[Tensor]) -> Tensor:
    """(P,)"""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def flat_gradient(value: Tensor, parameters: Sequence[Tensor], further: bool = False) -> Tensor:
    """∇ value, (P,); zeros for parameters that it does not depend on.

    Args:
        value: ().
        further: it is differentiated again, or the graph is used again.
    """
    if not value.requires_grad:
        return torch.zeros_like(as_flat(parameters))
    found = torch.autograd.grad(value, parameters, create_graph=further, retain_graph=further, allow_unused=True, materialize_grads=True)
    return as_flat(found)


def hessian_vector(value: Tensor, parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """∇² value · vector, (P,), by two reverse passes (Pearlmutter, 1994)."""
    return flat_gradient(flat_gradient(value, parameters, further=True) @ vector, parameters, further=True)


def jacobian_vector(values: Tensor, parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """⟨∇ values_b, vector⟩ for each b, (B,), of values (B,): the derivative, by its linear argument, of the transposed product."""
    weight = torch.zeros_like(values, requires_grad=True)
    transposed = flat_gradient(values @ weight, parameters, further=True)
    (found,) = torch.autograd.grad(transposed @ vector, weight, retain_graph=True)
    return found


def fisher_vector(log_prob: Tensor, parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """F · vector, (P,), with F the mean of ∇log p ∇log pᵀ over the rows of log p (B,)."""
    along = jacobian_vector(log_prob, parameters, vector)
    return flat_gradient((log_prob * along.detach()).mean(), parameters, further=True)


def conjugate_gradient(product: Product, right: Tensor, iterations: int = 10, tolerance: float = 1e-10) -> Tensor:
    """x with A x = right, (P,), for a symmetric positive A (Hestenes and Stiefel, 1952)."""
    found, residual, direction = torch.zeros_like(right), right.clone(), right.clone()
    square = residual @ residual
    for _ in range(iterations):
        if square <= tolerance:
            break
        image = product(direction)
        size = square / (direction @ image)
        found, residual = found + size * direction, residual - size * image
        before, square = square, residual @ residual
        direction = residual + (square / before) * direction
    return found


def normalised(direction: Tensor, length: float) -> Tensor:
    """The direction with this length, (P,); zeros stay."""
    norm = torch.linalg.vector_norm(direction)
    return direction * (length / norm) if norm > 0 else direction


def parabolic_search(gain: Callable[[float], float], trials: int = 30, least: float = 1e-4) -> tuple[float, float]:
    """A step length ε for a concave gain, by the parabola through the gain 0 with slope 1 at ε = 0 and the last trial (Papini, Pirotta,
    Restelli, 2017).

        ε ← 2 ε where gain(ε) > (1 − 1/4) ε,  else ε² / (2 (ε − gain(ε)))                 from ε = 1

    Args:
        gain: of a step of length ε; a linear one has gain(ε) = ε.
        trials: at most.
        least: growth of the gain over the last trial without which the last one is kept.

    Returns:
        ε and its gain; 0 and 0 if no trial gained.
    """
    length, last = 1.0, (0.0, -float("inf"))
    for _ in range(trials):
        found = gain(length)
        if not abs(found) < float("inf"):  # out of the gain's domain, too large a number, or NaN
            length /= 2.0
            continue
        if found <= last[1] + least:
            break
        last = length, found
        length = 2.0 * length if found > 0.75 * length else length**2 / (2.0 * (length - found))
    return last if last[1] > 0 else (0.0, 0.0)
