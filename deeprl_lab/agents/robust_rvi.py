"""Robust relative value iteration, learned (Wang, Velasquez, Atia, Prater-Bennette, Zou, "Model-Free Robust Average-Reward Reinforcement
Learning", ICML 2023).

    Q(s, a) ← Q(s, a) + α ( r + σ̂_{s,a}(V) − f(Q) − Q(s, a) ),    V = max_a Q,    f(Q) → the optimal robust gain

σ̂ is an unbiased estimate of the support function σ of the uncertainty set. Contamination needs the one next state that was observed. The
other sets need several, from a simulator of (s, a), here the world's own model, and a multilevel estimate:

    N ~ P(N = n) ∝ Ψ (1 − Ψ)ⁿ, n ≤ cap;    σ̂ = σ(p̂ of one sample) + Δ_N / P(N),    Δ_N = σ(p̂_all) − ½ σ(p̂_even) − ½ σ(p̂_odd)

with 2^{N+1} samples. The cap makes the cost finite, and the expectation that of the plug-in estimate with 2^{cap+1} samples; the paper has
none. The step size α = (1 + n(s, a))^−power and the uniform behaviour are choices of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deeprl.extend import Rows, Spec, counts, in_range, one_of
from deeprl_lab.mathematics.planners import relative_value_iteration
from deeprl_lab.mathematics.uncertainty import Uncertainty
from deeprl_lab.planning_agent import PlanningAgent

REFERENCES: dict[str, Callable[[np.ndarray], Any]] = {"first": lambda q: q[0, 0], "mean": np.mean, "max": np.max}


class RobustRVI(PlanningAgent):
    """Agent for the worlds without end.

    Args:
        uncertainty: the set around each row of the kernel.
        reference: f: "first" (Q of state 0 and action 0), "mean" or "max"; the gain does not depend on it.
        power: of the step size.
        epsilon: probability of an action at random while data is collected.
        psi, cap: Ψ and the largest N of the multilevel estimate.

    Raises:
        ValueError: a value is out of range, or the world's episodes have an end.
    """

    def __init__(
        self, *, spec: Spec, seed: int, world, uncertainty: Uncertainty, reference: str, power: float, epsilon: float, psi: float, cap: int
    ):
        super().__init__(spec=spec, seed=seed, world=world)
        self.uncertainty, self.reference, self.power, self.epsilon, self.psi, self.cap = uncertainty, reference, power, epsilon, psi, cap
        one_of(self, reference=tuple(REFERENCES))
        in_range(self, power=(0.5, 1), epsilon=(0, 1), psi=(0.001, 0.999), cap=(0, 20))
        counts(self, cap=0)
        if world.mdp.horizon is not None:
            raise ValueError("world must be without end, because the criterion is the average reward: env=lab/two_states, lab/garnet ...")
        shape = world.mdp.states, world.mdp.num_actions
        self.q = self.table("q", np.zeros(shape))
        self.counts = self.statistic("counts", np.zeros(shape, np.int64))
        law = psi * (1 - psi) ** np.arange(cap + 1)
        self.law = law / law.sum()

    def gain(self) -> float:
        """f(Q), the estimate of the optimal robust gain."""
        return float(REFERENCES[self.reference](self.q))

    def support(self, p: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Multilevel estimates (K,) of σ for K rows (K, S) of the kernel, from samples of them."""
        level = random.choice(self.cap + 1, size=len(p), p=self.law)
        size = 2.0 ** level[:, None]
        even, odd = (random.multinomial(1 << level, p) / size for _ in range(2))
        one = random.multinomial(1, even).astype(float)  # one of the samples, any of which may be the first
        first, whole, *halves = self.uncertainty.worst(np.stack([one, (even + odd) / 2, even, odd]), v)
        return first + (whole - (halves[0] + halves[1]) / 2) / self.law[level]

    def update(self, state: np.ndarray, action: np.ndarray, reward: np.ndarray, successor: np.ndarray) -> None:
        """One update of each of K different pairs; arguments (K,), of which `successor` is what the world answered."""
        v = self.q.max(-1)
        if self.uncertainty.linear:
            sigma = self.uncertainty.worst(np.eye(len(v))[successor], v)
        else:
            sigma = self.support(self.world.mdp.transition[state, action], v, self.random(int(self.counts.sum())))
        alpha = (1.0 + self.counts[state, action]) ** -self.power
        self.q[state, action] += alpha * (reward + sigma - self.gain() - self.q[state, action])
        self.counts[state, action] += 1

    # The agent

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        action = self.q[obs.argmax(-1)].argmax(-1)
        if u is None:
            return action
        return np.where(u[:, 0] < self.epsilon, (u[:, 1] * self.q.shape[1]).astype(int), action)

    def learn(self, rows: Rows) -> None:
        for one in zip(rows.obs.argmax(-1), rows.action, rows.reward.astype(float), rows.next_obs.argmax(-1)):
            self.update(*(np.array([x]) for x in one))
        self.forget()

    observe = learn  # there are no episodes whose policy could be evaluated

    def best_value(self) -> float:
        """The optimal robust gain."""
        return relative_value_iteration(self.world.mdp, self.uncertainty.worst).gain

    def value(self) -> float:
        """Robust gain of the greedy policy."""
        return relative_value_iteration(self.world.mdp, self.uncertainty.worst, np.eye(self.q.shape[1])[self.q.argmax(-1)]).gain

    def diagnostics(self, step: int) -> dict[str, float]:
        gain = self.gain()
        return {"train/suboptimality": self.suboptimality(), "train/gain": gain, "train/gain_error": abs(gain - self.optimum)}
