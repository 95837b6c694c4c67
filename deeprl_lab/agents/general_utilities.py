"""Policy gradient for general utilities of the occupancy (Barakat, Fatkhullin, He, "Reinforcement Learning with General Utilities: Simpler
Variance Reduction and Large State-Action Space", ICML 2023), with a tabular softmax policy.

    λ(τ) = Σ_{h<H} γ^h e_{s_h, a_h};    g(τ, θ, r) = Σ_t (Σ_{h≥t} γ^h r(s_h, a_h)) ∇ ln π_θ(a_t|s_t)
    w = Π_h π_{θ'}(a_h|s_h) / π_θ(a_h|s_h),   θ' = θ_{t−1}, θ = θ_t
    λ_t = η λ(τ) + (1 − η) (λ_{t−1} + λ(τ) (1 − w)),     r_t = ∇F(λ_t)
    d_t = η g(τ, θ_t, r_{t−1}) + (1 − η) (d_{t−1} + g(τ, θ_t, r_{t−1}) − w g(τ, θ_{t−1}, r_{t−2}))
    θ_{t+1} = θ_t + α d_t / ‖d_t‖,    η_t = (2 / (t + 1))^{2/3},    α_t = α₀ (t + 1)^{−2/3}

One batch of M trajectories an iteration, whose means stand for λ(τ), g and their corrections. A trajectory whose w is above `cap` is used
without its corrections. r lags on purpose, so that d is unbiased given the past.
"""

from __future__ import annotations

import numpy as np

from deeprl.extend import Rows, Spec, in_range
from deeprl_lab.mathematics.utilities import OccupancyUtility, largest, occupancy
from deeprl_lab.planning_agent import PlanningAgent


def softmax(theta: np.ndarray) -> np.ndarray:
    power = np.exp(theta - theta.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


def gradients(states: np.ndarray, actions: np.ndarray, theta: np.ndarray, reward: np.ndarray, discount: float) -> np.ndarray:
    """g of each trajectory, (M, S, A), for states and actions (H, M)."""
    steps, count = states.shape
    powers = discount ** np.arange(steps)[:, None]
    to_go = (powers * reward[states, actions])[::-1].cumsum(0)[::-1]  # (H, M)
    found, which, policy = np.zeros((count, *theta.shape)), np.broadcast_to(np.arange(count), states.shape), softmax(theta)
    np.add.at(found, (which, states, actions), to_go)
    np.add.at(found, (which, states), -to_go[..., None] * policy[states])
    return found


class GeneralUtilities(PlanningAgent):
    """Agent for worlds without end, whose episodes are trajectories of H = env.max_episode_steps.

    Args:
        utility: F.
        discount: γ.
        step: α₀.
        cap: largest w of a trajectory whose corrections count; 0: none counts.

    Raises:
        ValueError: a value is out of range, or the world ends.
    """

    def __init__(self, *, spec: Spec, seed: int, world, utility: OccupancyUtility, discount: float, step: float, cap: float):
        super().__init__(spec=spec, seed=seed, world=world)
        self.utility, self.discount, self.step_size, self.cap = utility, discount, step, cap
        in_range(self, discount=(0, 1), step_size=(0, None), cap=(0, None))
        if world.mdp.horizon is not None:
            raise ValueError("world must be without end, because an episode is a piece of its path: choose env=lab/open_grid")
        self.steps, self.reward = world.max_episode_steps, world.mdp.expected_reward()
        self.scale, shape = sum(discount**t for t in range(self.steps)), self.reward.shape
        self.theta = self.table("theta", np.zeros(shape))
        self.before, self.estimate, self.direction, self.pseudo, self.older = (  # θ_{t−1}, λ_{t−1}, d_{t−1}, r_{t−1}, r_{t−2}
            self.statistic(name, np.zeros(shape)) for name in ("before", "estimate", "direction", "pseudo", "older")
        )
        self.path = self.statistic("path", np.zeros((2, self.steps, world.num), np.int64))
        self.count = self.statistic("count", np.zeros(2, np.int64))
        """Iterations, and steps of the running trajectories"""

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        policy = softmax(self.theta)[obs.argmax(-1)]
        return policy.argmax(-1) if u is None else (policy.cumsum(-1) < u[:, :1]).sum(-1).clip(max=policy.shape[-1] - 1)

    def learn(self, rows: Rows) -> None:
        self.path[:, self.count[1]] = rows.obs.argmax(-1), rows.action
        self.count[1] += 1

    def replan(self) -> None:
        number, (states, actions) = int(self.count[0]) + 1, self.path
        eta, step = (2.0 / (number + 1)) ** (2 / 3), self.step_size * (number + 1) ** (-2 / 3)
        powers, seen = self.discount ** np.arange(self.steps)[:, None], np.zeros((states.shape[1], *self.theta.shape))
        np.add.at(seen, (np.broadcast_to(np.arange(states.shape[1]), states.shape), states, actions), powers)
        log = np.log(softmax(self.before)[states, actions]) - np.log(softmax(self.theta)[states, actions])
        weight = np.exp(log.sum(0))[:, None, None]  # (M, 1, 1)
        used = (weight <= self.cap) & (number > 1)
        estimate = seen.mean(0) + (1 - eta) * (self.estimate - seen.mean(0) + (used * seen * (1 - weight)).mean(0))
        if number == 1:  # nothing lags yet
            self.pseudo[:] = self.older[:] = self.utility.gradient(estimate, self.reward, self.scale)
        now = gradients(states, actions, self.theta, self.pseudo, self.discount)
        then = gradients(states, actions, self.before, self.older, self.discount)
        change = (used * (now - weight * then)).mean(0)
        direction = now.mean(0) + (1 - eta) * (self.direction - now.mean(0) + change)
        self.older[:], self.pseudo[:] = self.pseudo, self.utility.gradient(estimate, self.reward, self.scale)
        self.estimate[:], self.direction[:], self.before[:] = estimate, direction, self.theta
        self.theta += step * direction / max(float(np.linalg.norm(direction)), 1e-12)
        self.count[:] = number, 0

    def best_value(self) -> float:
        return largest(self.world.mdp, self.utility, self.discount, self.steps)[0]

    def value(self) -> float:
        found = occupancy(self.world.mdp, softmax(self.theta), self.discount, self.steps)
        return self.utility.value(found, self.reward, self.scale)
