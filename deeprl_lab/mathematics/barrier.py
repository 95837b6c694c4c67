"""Planning with a logarithmic barrier on the occupancies of a finite MDP.

    maximise over q in the flow polytope   Σ q r + (1/γ) Σ ln q
    dual   minimise over V   start · V_0 − (1/γ) Σ ln( V_h − r − P V_{h+1} ),     q = 1 / ( γ (V_h − r − P V_{h+1}) )

With one state and one step it is inverse-gap weighting, q_a = 1/(γ (λ − r_a)).
"""

from __future__ import annotations

import numpy as np

from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction


def barrier_occupancy(mdp: FiniteMDP, gamma: float, tolerance: float = 1e-16, most: int = 200) -> np.ndarray:
    """q (H, S, A) of an episodic MDP in which every state can be met in every step, by Newton's method on the dual.

    Args:
        tolerance: of the squared Newton decrement.

    Raises:
        ValueError: it does not converge, because some state is never met.
    """
    reward, (horizon, states, actions) = mdp.expected_reward(), mdp.transition.shape[:3]
    slack_of = np.zeros((horizon, states, actions, horizon, states))  # J: slack = J V − r
    for h in range(horizon):
        slack_of[h, np.arange(states), :, h, np.arange(states)] = 1.0
        if h + 1 < horizon:
            slack_of[h, :, :, h + 1] = -mdp.transition[h]
    j, r = slack_of.reshape(horizon * states * actions, -1), reward.ravel()
    v = (backward_induction(mdp)[1][:-1] + states * actions / gamma * np.arange(horizon, 0, -1)[:, None]).ravel()
    start = np.concatenate([mdp.start, np.zeros((horizon - 1) * states)])
    for _ in range(most):
        slack = j @ v - r
        gradient = gamma * start - j.T @ (1 / slack)
        step = np.linalg.solve((j / slack[:, None] ** 2).T @ j, gradient)
        squared = float(gradient @ step)
        if squared < tolerance:
            return (1 / (gamma * slack)).reshape(reward.shape)
        # The damped step of self-concordant functions stays feasible.
        v = v - step / (1.0 + (np.sqrt(squared) if squared > 1 / 16 else 0.0))
    raise ValueError(f"no solution after {most} steps: some state of the MDP is never met, or gamma={gamma:g} is extreme")
