"""The stochastic effective horizon of a finite MDP (Laidlaw, Zhu, Russell, Dragan, ICLR 2024), exactly.

    Q¹ = Q of the uniformly random policy,    Q^{j+1}_t(s, a) = E[r + max_b Q^j_{t+1}(s', b)]
    k-QVI-solvable     every policy that is greedy for Q^k is optimal
    Δ_k                min over (t, s) of max_a Q^k_t(s, a) − the best of the actions below it
    H̄                  min over such k of  k + log_A(1 / Δ_k²)

The bound on SQIRL's samples is exponential in H̄ alone. Returns are in units of the largest possible one; (t, s) are those that a greedy
policy of Q^k reaches, as in the authors' test of solvability. The definitions of Δ_k and H̄ are from memory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction

TIE = 1e-9
"""Difference of two values that are equal but for rounding"""


class EffectiveHorizon(NamedTuple):
    solvable: int
    """The smallest k for which the MDP is k-QVI-solvable"""
    best: int
    """That of the smallest bound"""
    gap: float
    """Δ of the best k"""
    value: float
    """H̄"""


def random_values(mdp: FiniteMDP) -> np.ndarray:
    """Q¹ (H, S, A)."""
    uniform = np.full(mdp.transition.shape[:-1], 1.0 / mdp.num_actions)
    return backward_induction(mdp, policy=uniform)[0]


def iterated(mdp: FiniteMDP, q: np.ndarray) -> np.ndarray:
    """A step of value iteration, (H, S, A) -> (H, S, A)."""
    after = np.concatenate([q[1:].max(-1), np.zeros((1, mdp.states))])
    return mdp.expected_reward() + np.einsum("hsat,ht->hsa", mdp.transition, after)


def greedy(q: np.ndarray) -> np.ndarray:
    """All greedy actions, (..., A) bool."""
    return q >= q.max(-1, keepdims=True) - TIE


def reached(mdp: FiniteMDP, actions: np.ndarray) -> np.ndarray:
    """(H, S) bool: where policies with these actions (H, S, A) come."""
    found = np.zeros(actions.shape[:2], bool)
    found[0] = mdp.start > 0
    for h in range(len(found) - 1):
        found[h + 1] = (mdp.transition[h][found[h][:, None] & actions[h]] > 0).any(0)
    return found


def largest_return(mdp: FiniteMDP) -> float:
    """Of any episode that has a probability."""
    v = np.zeros(mdp.states)
    for h in reversed(range(len(mdp.transition))):
        v = np.where(mdp.transition[h] > 0, mdp.reward[h] + v, -math.inf).max((1, 2))
    return float(v[mdp.start > 0].max())


def gap_of(q: np.ndarray, where: np.ndarray) -> float:
    """Δ of values (H, S, A); inf if no action is worse than another."""
    best = greedy(q)
    below = np.where(best, -math.inf, q).max(-1)
    return float((q.max(-1) - below)[where].min())


def effective_horizon(mdp: FiniteMDP) -> EffectiveHorizon:
    """
    Args:
        mdp: with a horizon H. Each is H-QVI-solvable.
    """
    q, optimal, found = random_values(mdp), greedy(backward_induction(mdp)[0]), list[tuple[int, float, float]]()
    scale = largest_return(mdp)
    for k in range(1, len(q) + 1):
        where = reached(mdp, greedy(q))
        if not (greedy(q) & ~optimal)[where].any():
            gap = gap_of(q, where) / scale
            found.append((k, gap, k - 2 * math.log(min(gap, 1.0)) / math.log(mdp.num_actions)))
        q = iterated(mdp, q)
    best = min(found, key=lambda each: each[2])
    return EffectiveHorizon(found[0][0], *best)
