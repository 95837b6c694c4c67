"""Static CVaR of the total reward R: planning with the remaining budget in the state.

    CVaR_τ(R) = max_b { b − E(b − R)⁺ / τ },    U_h(s, b) = min_a E U_{h+1}(s', b − r),    U_{H+1}(s, b) = b⁺

Rewards and budgets are multiples of η. Budgets of 0 and less are worth 0 and stay so, because rewards are not negative.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.risk import CVaR

Lower = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
"""Step h, expectation and variance (S, A, J) of the next U -> what is taken in place of the expectation"""


def indices(reward: np.ndarray, eta: float) -> np.ndarray:
    """Rewards as numbers of steps of the grid.

    Raises:
        ValueError: one is negative or no multiple of η.
    """
    index = np.rint(reward / eta).astype(np.int64)
    if index.min(initial=0) < 0 or not np.allclose(index * eta, reward, atol=1e-6):
        raise ValueError(f"grid={eta} does not divide all rewards, which must be multiples of it and not negative")
    return index


def plan(p: np.ndarray, index: np.ndarray, eta: float, budgets: int, lower: Lower = lambda h, e, var: e) -> tuple[np.ndarray, np.ndarray]:
    """Backward induction for budgets 0, η, …, (J − 1) η.

    Args:
        p, index: kernel (H, S, A, S), and rewards in steps of the grid, of the same shape.
        budgets: J.

    Returns:
        U_1 (S, J), and the best actions (H, S, J), of which the first where several are equal.
    """
    horizon, states = p.shape[:2]
    u, actions = np.tile(eta * np.arange(budgets), (states, 1)), np.zeros((horizon, states, budgets), np.int64)
    for h in reversed(range(horizon)):
        left = np.maximum(np.arange(budgets) - index[h][..., None], 0)  # (S, A, S, J)
        after = u[np.arange(states)[:, None], left]
        e = np.einsum("sat,satj->saj", p[h], after)
        variance = np.maximum(np.einsum("sat,satj->saj", p[h], after**2) - e**2, 0)
        q = lower(h, e, variance)
        actions[h], u = q.argmin(1), q.min(1)
    return u, actions


def best_budget(u: np.ndarray, eta: float, tau: float) -> tuple[int, float]:
    """The first best budget j for U_1 (J,) of the first state, and the CVaR that it promises."""
    promised = eta * np.arange(len(u)) - u / tau
    return int(promised.argmax()), float(promised.max())


def total_law(mdp: FiniteMDP, index: np.ndarray, actions: np.ndarray, budget: int) -> np.ndarray:
    """Law (J,) of the total reward, in steps of the grid, of the policy `actions` (H, S, J) started with a budget."""
    law = np.zeros((mdp.states, actions.shape[-1]))
    law[:, 0] = mdp.start
    for h in range(len(actions)):
        following = np.zeros_like(law)
        for state, total in np.argwhere(law).tolist():
            at = h, state, actions[h, state, max(budget - total, 0)]
            np.add.at(following, (np.arange(mdp.states), total + index[at]), law[state, total] * mdp.transition[at])
        law = following
    return law.sum(0)


def static_cvar(law: np.ndarray, eta: float, tau: float) -> float:
    """CVaR_τ of a total with this law (J,)."""
    return float(CVaR(tau).worth(law, eta * np.arange(len(law))))
