"""Planners and exact evaluation for finite MDPs whose model is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deeprl.lab.mdp import FiniteMDP

Functional = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Probabilities (..., S) and outcomes (..., S) -> (...): what a random outcome is worth, such as its mean or its CVaR"""
Worst = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Probabilities (..., S) and values (S,) -> (...): see `deeprl.lab.uncertainty`"""


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
