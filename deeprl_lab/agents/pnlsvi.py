"""Pessimistic least-squares value iteration with weights of inverse variance, offline, in linear MDPs: the linear case of PNLSVI (Di, Zhao,
He, Gu, "Pessimistic Nonlinear Least-Squares Value Iteration for Offline Reinforcement Learning", ICLR 2024).

    backwards in h, from two halves of the data:
    second half   m₁, m₂, m₃ = ridge regressions on φ(s, a) of V_{h+1}(s'), of its square, and of (r − r̂)²
                  σ² = clip( m₂ − m₁² + m₃ − H² c β ‖φ‖_{Λ⁻¹}, least, H² )
    first half    w = argmin Σ (w·φ − r − V_{h+1}(s'))² / σ² + λ ‖w‖²,    Λ = λ I + Σ φ φᵀ / σ²
                  Q_h = clip( w·φ − c β ‖φ‖_{Λ⁻¹}, 0, H − h ),    π_h greedy,    V_h = max_a Q_h

`least_variance=H²` gives all samples the weight of the worst case, and so plain pessimism; c = 0 is no pessimism. From memory: the
structure is the paper's, with 1 as the least variance. Ours are m₃, because rewards may have noise, and β = √(d ln(2 d H (1 + n)/δ)).
Here s, a and s' are finite, so that counts and sums of rewards stand for the episodes, exactly. Data come from uniformly random actions;
the meter takes the policy that is found.
"""

from __future__ import annotations

import math

import numpy as np

from deeprl.extend import Rows, Spec, in_range
from deeprl_lab.mathematics import ridge
from deeprl_lab.mathematics.counts import read
from deeprl_lab.mathematics.planners import backward_induction
from deeprl_lab.planning_agent import PlanningAgent


class PNLSVI(PlanningAgent):
    """Agent for `env=lab/linear`. It plans again whenever the number of episodes has doubled.

    Args:
        penalty_scale: c.
        confidence: δ.
        lam: λ.
        least_variance: lower bound of σ².
        share: part of the episodes that is the second half; 0: all episodes serve as both.

    Raises:
        ValueError: a value is out of range, or the world has no features or no horizon.
    """

    wanted = "features"

    def __init__(
        self, *, spec: Spec, seed: int, world, penalty_scale: float, confidence: float, lam: float, least_variance: float, share: float
    ):
        super().__init__(spec=spec, seed=seed, world=world)
        self.penalty_scale, self.confidence, self.lam, self.least_variance, self.share = (
            penalty_scale,
            confidence,
            lam,
            least_variance,
            share,
        )
        in_range(self, penalty_scale=(0, None), confidence=(1e-12, 1), lam=(1e-9, None), least_variance=(1e-6, None), share=(0, 0.9))
        if world.mdp.horizon is None:
            raise ValueError("world must have a horizon, because planning goes backwards in the step: env=lab/linear")
        self.phi, (h, s, a, _) = world.features, world.mdp.transition.shape
        self.policy = self.table("policy", np.zeros((h, s), np.int64))
        self.number = self.statistic("number", np.zeros((2, h, s, a, s)))  # the first axis: half
        self.reward = self.statistic("reward", np.zeros((2, h, s, a)))
        self.square = self.statistic("square", np.zeros((2, h, s, a)))  # of rewards
        self.episodes = self.statistic("episodes", np.zeros(1, np.int64))

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, h, _ = read(obs)
        return self.policy[h, state] if u is None else (u[:, 0] * self.spec.num_actions).astype(int)

    def learn(self, rows: Rows) -> None:
        (state, h, _), (after, *_), reward = read(rows.obs), read(rows.next_obs), rows.reward.astype(float)
        episode = self.episodes[0] + np.arange(len(state))
        half = (np.floor((episode + 1) * self.share) > np.floor(episode * self.share)).astype(int)
        at = half, h, state, rows.action
        np.add.at(self.number, (*at, after), 1.0)
        np.add.at(self.reward, at, reward)
        np.add.at(self.square, at, reward**2)
        self.episodes[0] += len(state) * bool(rows.ended[0])

    def over(self, rows: Rows) -> bool:
        """Whether the number of episodes has just reached or passed a power of two."""
        after = int(self.episodes[0])
        return bool(rows.ended[0]) and after.bit_length() > (after - len(rows.ended)).bit_length()

    def fit(self, half: int, h: int, total: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and widths ‖φ‖ (S, A) of a weighted ridge regression; total (S, A): sums of the targets of each pair."""
        gram = self.lam * np.eye(self.phi.shape[-1]) + np.einsum(
            "sa,sai,saj->ij", weight * self.number[half, h].sum(-1), self.phi, self.phi
        )
        moment = np.einsum("sa,sai->i", weight * total, self.phi)
        return self.phi @ ridge.weights(gram, moment), ridge.widths(np.linalg.inv(gram), self.phi)

    def variance(self, h: int, v: np.ndarray, size: float, beta: float) -> np.ndarray:
        """σ² (S, A) of r + V(s')."""
        half = 1 if self.share else 0
        number, reward, equal = self.number[half, h], self.reward[half, h], np.ones(self.phi.shape[:2])
        mean, width = self.fit(half, h, reward, equal)
        noise, _ = self.fit(half, h, self.square[half, h] - 2 * mean * reward + mean**2 * number.sum(-1), equal)
        (first, _), (second, _) = (self.fit(half, h, number @ power, equal) for power in (v, v**2))
        return np.clip(noise + second - first**2 - size**2 * beta * width, min(self.least_variance, size**2), size**2)

    def replan(self) -> None:
        size, v = len(self.policy), np.zeros(len(self.phi))
        log = math.log(2 * self.phi.shape[-1] * size * (1 + self.episodes[0]) / self.confidence)
        beta = self.penalty_scale * math.sqrt(self.phi.shape[-1] * log)
        for h in reversed(range(size)):
            variance = self.variance(h, v, size, beta)
            mean, width = self.fit(0, h, self.reward[0, h] + self.number[0, h] @ v, 1.0 / variance)
            q = np.clip(mean - beta * width, 0.0, size - h)
            self.policy[h], v = q.argmax(-1), q.max(-1)

    def best_value(self) -> float:
        return float(self.world.mdp.start @ backward_induction(self.world.mdp)[1][0])

    def value(self) -> float:
        greedy = np.eye(self.spec.num_actions)[self.policy]
        return float(self.world.mdp.start @ backward_induction(self.world.mdp, policy=greedy)[1][0])
