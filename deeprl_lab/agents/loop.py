"""LOOP (He, Zhong, Yang, "Sample-efficient Learning of Infinite-horizon Average-reward MDPs with General Function Approximation", ICLR
2024), with tables: average reward, local optimism, and few changes of the policy.

    hypothesis   (Q, J) of the largest gain J in a confidence set; here that of the best kernel with ‖q − p̂(s, a)‖₁ ≤ c √(14 S ln(2At)/n)
    loss         Σ_{s,a} n(s, a) (Q(s, a) + J − r(s, a) − p̂(s, a)·V)²: its squared Bellman error on all data, less what no model avoids
    switch       to a new hypothesis when the loss of the present one exceeds 4β,    β = b S A · span(V)² · c² 14 S ln(2At) / 4

Extended value iteration stops at a span of 1/√max(t, 10,000) after t ticks, because the theory's 1/√t is a coarse one early.
A new hypothesis has a loss of at most β/b. `Doubling` switches when the visits of a pair have doubled, which makes this UCRL2.

From memory: the structure is the paper's; the tables and their sets are those of UCRL2, with constants of our own. Rewards are known.
The meter adds, in each step, the gain of the best policy less that of the present one; its episodes are steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, Rows, Spec, in_range
from deeprl_lab.mathematics.planners import extended_value_iteration, policy_gain, relative_value_iteration
from deeprl_lab.planning_agent import PlanningAgent


class Switching(Choice):
    """When the hypothesis is chosen anew."""

    def __call__(self, n: np.ndarray, began: np.ndarray, error: np.ndarray, squared: float) -> bool:
        """Whether to switch.

        Args:
            n, began: visits (S, A) now, and when the hypothesis was chosen.
            error: (S, A) Bellman errors of the hypothesis.
            squared: n times the largest squared error that the confidence set allows a pair.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Discrepancy(Switching):
    """The paper's.

    Args:
        scale: b; below 1/4 a hypothesis could exceed its bound when it is new.
    """

    scale: float = 0.25

    def __post_init__(self):
        in_range(self, scale=(0.25, None))

    def __call__(self, n, began, error, squared):
        return bool((n * error**2).sum() > 4 * self.scale * n.size * squared)


@dataclass(frozen=True)
class Doubling(Switching):
    """UCRL2's."""

    def __call__(self, n, began, error, squared):
        return bool((n >= 2 * np.maximum(began, 0.5)).any())


class Loop(PlanningAgent):
    """Agent for the worlds without end.

    Args:
        switching: when a new hypothesis is chosen.
        bonus_scale: c.

    Raises:
        ValueError: a value is out of range, or the world's episodes have an end.
    """

    def __init__(self, *, spec: Spec, seed: int, world, switching: Switching, bonus_scale: float):
        super().__init__(spec=spec, seed=seed, world=world)
        self.switching, self.bonus_scale = switching, bonus_scale
        in_range(self, bonus_scale=(1e-6, None))
        if world.mdp.horizon is not None:
            raise ValueError("world must be without end, because the criterion is the average reward: env=lab/river_swim, lab/garnet ...")
        self.reward, (s, a, _) = world.mdp.expected_reward(), world.mdp.transition.shape
        self.q = self.table("q", np.zeros((s, a)))
        self.v = self.statistic("v", np.zeros(s))
        self.number = self.statistic("number", np.zeros((s, a, s)))
        self.began = self.statistic("began", np.zeros((s, a)))
        self.replan()

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        return self.q[obs.argmax(-1)].argmax(-1)

    def estimate(self) -> tuple[np.ndarray, np.ndarray, float]:
        """n (S, A), p̂ (S, A, S), and n times the squared radius of the confidence set."""
        n = self.number.sum(-1)
        kernel = np.where(n[..., None] > 0, self.number / np.maximum(n, 1)[..., None], 1.0 / len(n))
        return n, kernel, self.bonus_scale**2 * 14 * len(n) * math.log(2 * n.shape[1] * max(n.sum(), 2))

    def observe(self, rows: Rows) -> None:
        state = rows.obs.argmax(-1)
        np.add.at(self.number, (state, rows.action, rows.next_obs.argmax(-1)), 1.0)
        self.meter[:2] += len(state) * self.suboptimality(), len(state)
        n, kernel, squared = self.estimate()
        error = self.q - self.reward - kernel @ self.v
        if self.switching(n, self.began, error, squared * np.ptp(self.v) ** 2 / 4):
            self.replan()
            self.meter[2] += 1

    def replan(self) -> None:
        n, kernel, squared = self.estimate()
        radius = np.where(n > 0, np.sqrt(squared / np.maximum(n, 1)), 2.0)  # a pair without samples may lead anywhere
        tolerance = 1.0 / math.sqrt(max(n.sum(), 10_000))
        self.q[...], self.v[...] = extended_value_iteration(kernel, self.reward, radius, tolerance)
        self.began[...] = n
        self.forget()

    def best_value(self) -> float:
        return relative_value_iteration(self.world.mdp).gain

    def value(self) -> float:
        return policy_gain(self.world.mdp, np.eye(self.q.shape[1])[self.q.argmax(-1)])
