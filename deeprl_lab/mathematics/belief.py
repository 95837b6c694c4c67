"""Planning when one of M contexts is hidden: the tree of beliefs, whose values are one number a context.

    α^m(node) = the value under context m of the plan from here on,    plan: a = argmax_a Σ_m b(m) α^m(node, a)
    α^m(node, a) = Σ_s' P_m(s'|s, a) ( r(s, a, s') + α^m(child) ) + bonus_m(s, a),    b(child)(m) ∝ b(m) P_m(s'|s, a)

Histories that lead to the same state and belief (to 1e-9) share a node. The tree has every outcome, those of estimated probability 0 too,
because the plan must go on where the estimate is wrong; the belief then stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Bonus = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""States (N,) and variances (N, A, M) of what follows -> bonuses (N, A, M)"""


class Layer(NamedTuple):
    """The N nodes of one step."""

    state: np.ndarray
    """(N,)"""
    belief: np.ndarray
    """(N, M)"""
    child: np.ndarray
    """(N, A, S) numbers of nodes in the next layer"""


def tree(transition: np.ndarray, prior: np.ndarray, horizon: int) -> list[Layer]:
    """Layers 0 … H of the tree from state 0, for kernels (M, S, A, S). The last layer has no children."""
    states, actions = transition.shape[1:3]
    state, belief, layers = np.zeros(1, np.int64), prior[None], []
    for _ in range(horizon):
        joint = belief[:, :, None, None] * transition[:, state].swapaxes(0, 1)  # (N, M, A, S)
        total = joint.sum(1, keepdims=True)
        after = np.where(total > 0, joint / np.where(total > 0, total, 1.0), belief[:, :, None, None])
        rows = np.concatenate([np.moveaxis(after, 1, -1), np.broadcast_to(np.arange(states)[:, None], (*total[:, 0].shape, 1))], -1)
        unique, child = np.unique(rows.reshape(-1, rows.shape[-1]).round(9), axis=0, return_inverse=True)
        layers.append(Layer(state, belief, child.reshape(len(state), actions, states)))
        state, belief = unique[:, -1].astype(np.int64), unique[:, :-1]
    return [*layers, Layer(state, belief, np.zeros((len(state), actions, 0), np.int64))]


def plan(
    layers: list[Layer], transition: np.ndarray, reward: np.ndarray, bonus: Bonus | None = None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Backward induction over the tree.

    Args:
        reward: (S, A, S), at most 1; values with a bonus are clipped to the number of steps left.

    Returns:
        Actions (N,) of each layer, and α (M,) of the root.
    """
    actions, alpha = [], np.zeros((len(layers[-1].state), transition.shape[0]))
    for left, layer in enumerate(reversed(layers[:-1]), 1):
        p = np.moveaxis(transition[:, layer.state], 0, -1)  # (N, A, S, M)
        outcome = reward[layer.state][..., None] + alpha[layer.child]
        each = (p * outcome).sum(-2)
        if bonus is not None:
            each = np.clip(each + bonus(layer.state, np.maximum((p * outcome**2).sum(-2) - each**2, 0.0)), 0.0, left)
        best = np.einsum("nm,nam->na", layer.belief, each).argmax(-1)
        actions.append(best)
        alpha = each[np.arange(len(best)), best]
    return actions[::-1], alpha[0]


def evaluate(layers: list[Layer], actions: list[np.ndarray], transition: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """α (M,) of the root for a plan, under other kernels (M, S, A, S)."""
    alpha = np.zeros((len(layers[-1].state), transition.shape[0]))
    for layer, best in zip(reversed(layers[:-1]), reversed(actions)):
        at = np.arange(len(best))
        p = np.moveaxis(transition[:, layer.state, best], 0, -1)  # (N, S, M)
        alpha = (p * (reward[layer.state, best][..., None] + alpha[layer.child[at, best]])).sum(-2)
    return alpha[0]
