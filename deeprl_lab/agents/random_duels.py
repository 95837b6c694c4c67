"""Preference-based RL by randomisation (Wu, Sun, "Making RL with Preference-based Feedback Efficient via Randomization", ICLR 2024), with
one-hot features of (h, s, a). No set of candidate policies: each episode plans once, for a sampled reward and a sampled model.

    θ̄ ~ N(θ̂, c² Σ⁻¹),    Q_h = θ̄_h + P̂ V_{h+1} + c ξ / √(λ + n),    V = max_a Q, clipped to ±(H − h);    π_t is greedy
    duel      π_t against π_{t−1}
    ask       for the preference only if  E |⟨z, θ₀ − θ₁⟩| = 2 c ‖z‖_{Σ⁻¹}/√π > ε,   θ₀, θ₁ two draws of N(θ̂, c² Σ⁻¹)

θ̂ is the ridge logistic regression, Σ = λI + Σ z zᵀ over what was asked, P̂ = counts/(λ + n), ξ standard normal. From memory: the structure
is the paper's; that both noises have the same scale c is ours, and ε is a constant. ε = 0 always asks.
"""

from __future__ import annotations

import math

import numpy as np

from deeprl.extend import Rows, Spec, counts, in_range
from deeprl_lab.mathematics.counts import read
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction
from deeprl_lab.mathematics.preferences import Comparisons, logistic_ridge
from deeprl_lab.planning_agent import PlanningAgent


class RandomDuels(PlanningAgent):
    """Agent for `env=lab/duel`. In evaluation both trajectories follow the policy without noise.

    Args:
        bonus_scale: c.
        threshold: ε, in units of reward.
        lam: λ.
        capacity: most comparisons that can be kept.

    Raises:
        ValueError: a value is out of range, or the world has no duels; while it learns, `capacity` is exceeded.
    """

    wanted = "compared"

    def __init__(self, *, spec: Spec, seed: int, world, bonus_scale: float, threshold: float, lam: float, capacity: int):
        super().__init__(spec=spec, seed=seed, world=world)
        self.bonus_scale, self.threshold, self.lam, self.capacity = bonus_scale, threshold, lam, capacity
        in_range(self, bonus_scale=(0, None), threshold=(0, None), lam=(1e-9, None))
        counts(self, capacity=1)
        self.mdp: FiniteMDP = world.compared
        self.shape = self.mdp.transition.shape[:3]
        d = math.prod(self.shape)
        self.policies = self.table("policies", np.zeros((3, *self.shape[:2]), np.int64))  # π_t, π_{t−1}, and without noise
        self.w, self.gram = self.statistic("w", np.zeros(d)), self.statistic("gram", lam * np.eye(d))
        self.number = self.statistic("number", np.zeros(self.mdp.transition.shape))
        self.data = Comparisons.none(self.statistic, capacity, world.num, d)

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, t, _ = read(obs)
        which = np.minimum(t // self.shape[0], 1) if u is not None else 2
        return self.policies[which, t % self.shape[0], state]

    def learn(self, rows: Rows) -> None:
        (state, t, _), (after, *_) = read(rows.obs), read(rows.next_obs)
        np.add.at(self.number, (t % self.shape[0], state, rows.action, after), 1.0)
        self.data.visit(rows, self.shape)
        for z, won in zip(self.data.path[rows.ended], rows.reward[rows.ended]):
            if self.to_learn(z) > self.threshold or self.threshold == 0:
                self.data.keep(z, float(won))
                self.gram += np.outer(z, z)
        self.data.path[rows.ended] = 0.0

    def to_learn(self, z: np.ndarray) -> float:
        """E |zᵀ (θ − θ')| of two draws of the posterior: what an answer about z (d,) can tell."""
        return 2 * self.bonus_scale * math.sqrt(z @ np.linalg.solve(self.gram, z) / math.pi)

    def replan(self) -> None:
        self.w[...] = logistic_ridge(*self.data.known(), self.lam, self.w)
        random, factor = self.random(int(self.meter[1])), np.linalg.cholesky(np.linalg.inv(self.gram))
        theta = self.w + self.bonus_scale * factor @ random.standard_normal(len(self.w))
        self.policies[1] = self.policies[0]
        self.policies[0] = self.planned(theta, self.bonus_scale * random.standard_normal(self.shape))
        self.policies[2] = self.planned(self.w, np.zeros(self.shape))

    def planned(self, theta: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Greedy policy (H, S) for rewards θ (d,), and noise (H, S, A) of least squares with Λ = λ + n."""
        precision, horizon = self.lam + self.number.sum(-1), self.shape[0]
        reward = theta.reshape(self.shape) + noise / np.sqrt(precision)
        kernel, policy, v = self.number / precision[..., None], np.zeros(self.shape[:2], np.int64), np.zeros(self.shape[1])
        for h in reversed(range(horizon)):  # in the last step V is 0, hence what the counts hold there does not matter
            q = reward[h] + kernel[h] @ v
            policy[h], v = q.argmax(-1), np.clip(q.max(-1), h - horizon, horizon - h)
        return policy

    def best_value(self) -> float:
        return float(self.mdp.start @ backward_induction(self.mdp)[1][0])

    def value(self) -> float:
        """Mean value of the two policies that are played."""
        played = np.eye(self.shape[2])[self.policies[:2]]
        return float(np.mean([self.mdp.start @ backward_induction(self.mdp, policy=policy)[1][0] for policy in played]))

    def diagnostics(self, step: int) -> dict[str, float]:
        return {**super().diagnostics(step), "rollout/queries": float(self.data.number[0])}
