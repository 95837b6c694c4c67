"""MoCoVI and MoCoDyna (Rakhsha, Kemertas, Ghavamzadeh, Farahmand, "Maximum Entropy Model Correction in Reinforcement Learning", ICLR 2024),
tabular and discounted, with known rewards.

    P̂     a wrong model: (1 − λ) P + λ · uniform on the support of P             P: the kernel, or counts in its place
    ψ_i    = P φ_i for the last d value functions φ_i = V_{k−i}                  queried, or estimated from samples
    P̄_k   the nearest kernel to P̂, in KL, with P̄_k φ_i = ψ_i
    V_k    value of the best policy π_k under P̄_k, exactly

Each iteration of MoCoVI asks the world for one new expectation P V_{k−1}; with an accurate model it converges faster than value iteration.
MoCoDyna has counts: P̂ is wrong by λ because the paper smooths its estimate, as a model of limited capacity would be.

Ours: the functions are orthogonalised newest first, without the paper's scale of 1000. MoCoDyna's estimate of a function is its mean over
all next states, from the counts, where the paper starts from the estimate of the function before and lets the newest wait; on garnets that
running mean fails, because the first function starts from that of zero. Its constraints are soft, with b = β²/4 = c / n(s, a).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, Rows, Spec, counts, in_range
from deeprl_lab.mathematics.correction import corrected, orthonormal
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import discounted_values
from deeprl_lab.planning_agent import PlanningAgent


@dataclass(frozen=True)
class Queried(Choice):
    """MoCoVI: the world answers what P φ is, exactly, and the wrong model is made of its kernel."""

    most = np.inf

    def known(self, kernel: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The world's kernel and counts, (S, A, S) -> P (S, A, S) that gives the expectations, and b (S, A)."""
        return kernel, np.zeros(kernel.shape[:-1])


@dataclass(frozen=True)
class Sampled(Choice):
    """MoCoDyna: from counts; pairs without samples are uniform.

    Args:
        softness: c; 0 takes estimates for exact.
        most: largest multiplier λ_i of a function of variance one.
    """

    softness: float = 1.0
    most: float = 50.0

    def __post_init__(self):
        in_range(self, softness=(0, None), most=(0, None))

    def known(self, kernel, number):
        n = number.sum(-1)
        return np.where(n[..., None] > 0, number / np.maximum(n, 1)[..., None], 1.0 / len(n)), self.softness / np.maximum(n, 1)


class MoCo(PlanningAgent):
    """Agent for the worlds without end.

    Args:
        discount: γ, below 1.
        expectations: where the ψ_i come from.
        smoothing: λ, how wrong the model is.
        basis: d, the number of value functions; 0 plans in P̂ alone.
        interval: ticks between iterations.
        epsilon: probability of an action at random while data is collected. The meter takes the greedy policy.

    Raises:
        ValueError: a value is out of range, or the world's episodes have an end.
    """

    def __init__(
        self, *, spec: Spec, seed: int, world, discount: float, expectations, smoothing: float, basis: int, interval: int, epsilon: float
    ):
        super().__init__(spec=spec, seed=seed, world=world)
        self.discount, self.expectations, self.smoothing, self.basis = discount, expectations, smoothing, basis
        self.interval, self.epsilon, mdp = interval, epsilon, world.mdp
        in_range(self, discount=(0, 0.999999), smoothing=(0, 1), epsilon=(0, 1))
        counts(self, basis=0, interval=1)
        if mdp.horizon is not None:
            raise ValueError("world must be without end, because the criterion is discounted: env=lab/garnet, lab/river_swim ...")
        self.q = self.table("q", np.zeros((mdp.states, mdp.num_actions)))
        self.queue = self.statistic("queue", np.zeros((basis, mdp.states)))  # the newest first
        self.number = self.statistic("number", np.zeros(mdp.transition.shape))
        self.ticks = self.statistic("ticks", np.zeros(1, np.int64))

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        action = self.q[obs.argmax(-1)].argmax(-1)
        return action if u is None else np.where(u[:, 0] < self.epsilon, (u[:, 1] * self.q.shape[1]).astype(int), action)

    def learn(self, rows: Rows) -> None:
        np.add.at(self.number, (rows.obs.argmax(-1), rows.action, rows.next_obs.argmax(-1)), 1.0)
        self.ticks[0] += 1

    def over(self, rows: Rows) -> bool:
        return bool(self.ticks[0] % self.interval == 0)

    def replan(self) -> None:
        mdp = self.world.mdp
        kernel, soft = self.expectations.known(mdp.transition, self.number)
        support = kernel > 0
        model = (1 - self.smoothing) * kernel + self.smoothing * support / support.sum(-1, keepdims=True)
        phi, psi = orthonormal(self.queue, kernel @ self.queue.T)
        if phi.shape[1]:
            model, _ = corrected(model, phi, psi, soft, self.expectations.most)
        self.q[...], v = discounted_values(FiniteMDP(model, mdp.expected_reward(), mdp.start), self.discount)
        self.queue[...] = np.concatenate([v[None], self.queue])[: self.basis]

    def best_values(self) -> np.ndarray:
        return discounted_values(self.world.mdp, self.discount)[1]

    def best_value(self) -> float:
        return float(self.world.mdp.start @ self.best_values())

    def value(self) -> float:
        greedy = np.eye(self.q.shape[1])[self.q.argmax(-1)]
        return float(self.world.mdp.start @ discounted_values(self.world.mdp, self.discount, greedy)[1])

    def value_error(self) -> float:
        """‖V_k − V*‖∞."""
        return float(np.abs(self.q.max(-1) - self.best_values()).max())

    def diagnostics(self, step: int) -> dict[str, float]:
        return {**super().diagnostics(step), "train/value_error": self.value_error()}
