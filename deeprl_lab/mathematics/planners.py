"""Planners and exact evaluation for finite MDPs whose model is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deeprl_lab.mathematics.mdp import FiniteMDP

Functional = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Probabilities (..., S) and outcomes (..., S) -> (...): what a random outcome is worth, such as its mean or its CVaR"""
Worst = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Probabilities (..., S) and values (S,) -> (...): see `deeprl_lab.mathematics.uncertainty`"""


def softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities (..., A) in proportion to e^x."""
    weight = np.exp(x - x.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def mean(p: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    return (p * outcomes).sum(-1)


def backward_induction(mdp: FiniteMDP, worth: Functional = mean, policy: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Q_h(s, a) = worth of r_h(s, a, s') + V_{h+1}(s'), and V_h = max_a Q_h, or Σ_a π_h(a|s) Q_h(s, a) of a policy (H, S, A).

    Returns:
        Q (H, S, A) and V (H + 1, S), V_H = 0.
    """
    assert mdp.horizon is not None
    q = np.zeros(mdp.transition.shape[:-1])
    v = np.zeros((mdp.horizon + 1, mdp.states))
    for h in reversed(range(mdp.horizon)):
        q[h] = worth(mdp.transition[h], mdp.reward[h] + v[h + 1])
        v[h] = q[h].max(-1) if policy is None else (policy[h] * q[h]).sum(-1)
    return q, v


class Relative(NamedTuple):
    """Solution of an average-reward problem."""

    gain: float
    bias: np.ndarray
    """(S,), zero in state 0"""
    q: np.ndarray
    """(S, A): the reward plus the worst mean of the bias, minus the gain"""


def relative_value_iteration(
    mdp: FiniteMDP, worst: Worst = np.matmul, policy: np.ndarray | None = None, tolerance: float = 1e-11, most: int = 100_000
) -> Relative:
    """Gain and bias of the best policy, or of a policy (S, A), under the worst kernels of the sets.

        h + g = max_a { r(s, a) + σ_{s,a}(h) }

    Half a step at a time, so that periodic chains converge too.

    Raises:
        ValueError: it does not converge, because the gain differs between states.
    """
    reward, v = mdp.expected_reward(), np.zeros(mdp.states)
    for _ in range(most):
        q = reward + worst(mdp.transition, v)
        change = (q.max(-1) if policy is None else (policy * q).sum(-1)) - v
        if np.ptp(change) < tolerance:
            gain = float(change.max() + change.min()) / 2
            return Relative(gain, v - v[0], q - gain)
        v = v + change / 2
        v -= v[0]
    raise ValueError(f"relative value iteration has not converged after {most} sweeps: the gain differs between states")


def discounted_values(mdp: FiniteMDP, discount: float, policy: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Q (S, A) and V (S,) of the best policy, by policy iteration, or of a policy (S, A): solutions of linear equations, hence exact."""
    reward, best = mdp.expected_reward(), policy is None
    policy = np.eye(mdp.num_actions)[reward.argmax(-1)] if policy is None else policy
    while True:
        v = np.linalg.solve(np.eye(mdp.states) - discount * np.einsum("sa,sat->st", policy, mdp.transition), (policy * reward).sum(-1))
        q = reward + discount * mdp.transition @ v
        if not best or (q.max(-1) <= v + 1e-10).all():
            return q, v
        policy = np.eye(mdp.num_actions)[q.argmax(-1)]


def policy_gain(mdp: FiniteMDP, policy: np.ndarray) -> float:
    """Average reward of a policy (S, A) that has one recurrent class: h + g = r + P h, h(0) = 0, a linear equation, hence exact."""
    left = np.eye(mdp.states) - np.einsum("sa,sat->st", policy, mdp.transition)
    left[:, 0] = 1.0  # the unknown in the place of h(0) is g
    return float(np.linalg.lstsq(left, (policy * mdp.expected_reward()).sum(-1), rcond=None)[0][0])


def optimistic_kernel(p: np.ndarray, radius: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Kernels (..., S) with the largest means of v (S,) among those with ‖q − p‖₁ ≤ radius (...): mass moves from the lowest values to the
    highest, which is the first where several are equal."""
    order = np.argsort(-v, kind="stable")
    q = p[..., order]
    more = np.minimum(radius / 2, 1.0 - q[..., 0])
    lowest = q[..., :0:-1]  # from the lowest value up, without the highest
    taken = np.clip(more[..., None] - (lowest.cumsum(-1) - lowest), 0.0, lowest)
    q = np.concatenate([(q[..., 0] + more)[..., None], q[..., 1:] - taken[..., ::-1]], -1)
    return q[..., np.argsort(order)]


def extended_value_iteration(
    p: np.ndarray, reward: np.ndarray, radius: np.ndarray, tolerance: float, most: int = 10_000
) -> tuple[np.ndarray, np.ndarray]:
    """The best policy of the best kernel within ‖q − p‖₁ ≤ radius (S, A), until the span of a change of values is below the tolerance, at
    most `most` sweeps (Jaksch, Ortner, Auer, "Near-optimal Regret Bounds for Reinforcement Learning", 2010).

    Returns:
        Q (S, A) and V (S,), zero at its lowest: Q = reward + q·V, and max Q = V + gain, up to the tolerance.
    """
    v = np.zeros(len(p))
    for _ in range(most):
        q = reward + (optimistic_kernel(p, radius, v) * v).sum(-1)
        if np.ptp(q.max(-1) - v) < tolerance:
            break
        v = q.max(-1) - q.max(-1).min()
    return q, v
