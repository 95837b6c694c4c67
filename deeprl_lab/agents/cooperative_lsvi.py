"""Asynchronous cooperative LSVI-UCB for linear MDPs (Min, He, Wang, Gu, "Cooperative Multi-Agent Reinforcement Learning: Asynchronous
Communication and Linear Function Approximation", ICML 2023). M agents in copies of one world; one of them, at random, plays each episode.

    agent m     keeps the policy and the Λ_m of its last download, and what it has seen since, Λ_loc
    trigger     det(Λ_m,h + Λ_loc,h) > (1 + α) det Λ_m,h for some h: upload Λ_loc, then download; two messages
    server      w_h = Λ_h⁻¹ Σ φ (r + V_{h+1}(s')),    Q_h = clip( w_hᵀφ + c β ‖φ‖_{Λ_h⁻¹}, 0, H − h ),    V = max_a Q
    β           d H √(2 ln(2 d K H / δ))  after K uploaded episodes

From memory: the structure and α = 1/M² are the paper's, the constant of β is ours; its K grows, where theory takes the final number. M = 1
with α = 0 is LSVI-UCB, with α > 0 its form with rare switches. The world is finite, hence counts hold all data and sums over it are exact.
"""

from __future__ import annotations

import math

import numpy as np

from deeprl.extend import Rows, Spec, counts, in_range
from deeprl_lab.mathematics import ridge
from deeprl_lab.mathematics.counts import Counts, read, require_steady
from deeprl_lab.mathematics.planners import backward_induction
from deeprl_lab.planning_agent import PlanningAgent


def lsvi(gram: np.ndarray, data: Counts, features: np.ndarray, beta: float) -> np.ndarray:
    """LSVI-UCB on Λ (H, d, d), counts and features (S, A, d) -> Q (H, S, A), values of h clipped to [0, H − h]."""
    horizon, v, q = len(gram), np.zeros(len(features)), np.zeros(data.number.shape[:-1])
    for h in reversed(range(horizon)):
        target = (data.number[h] * (data.reward[h] + v)).sum(-1)  # (S, A): sums of r + V(s') over visits
        w = ridge.weights(gram[h], np.einsum("sa,sai->i", target, features))
        bonus = beta * ridge.widths(np.linalg.inv(gram[h]), features)
        q[h] = np.clip(features @ w + bonus, 0.0, horizon - h)
        v = q[h].max(-1)
    return q


class CooperativeLSVI(PlanningAgent):
    """Agent for `env=lab/simplex_mdp`, and any world with `features` and without noise. Where the world has several copies (`env.num`), all
    are played by the same of the M agents at a time.

    Args:
        agents: M.
        alpha: α; None is 1/M².
        bonus_scale, confidence, lam: c, δ, λ.

    Raises:
        ValueError: a value is out of range, or the world has no features, no horizon, or noisy rewards.
    """

    wanted = "features"

    def __init__(
        self, *, spec: Spec, seed: int, world, agents: int, alpha: float | None, bonus_scale: float, confidence: float, lam: float
    ):
        super().__init__(spec=spec, seed=seed, world=world)
        self.agents, self.bonus_scale, self.confidence, self.lam = agents, bonus_scale, confidence, lam
        counts(self, agents=1)
        self.alpha = 1.0 / agents**2 if alpha is None else alpha
        in_range(self, alpha=(0, None), bonus_scale=(0, None), confidence=(1e-12, 1), lam=(1e-9, None))
        if world.mdp.horizon is None:
            raise ValueError("world must have a horizon, because planning goes backwards in the step: env=lab/simplex_mdp")
        require_steady(world)
        self.features, shape = world.features, world.mdp.transition.shape
        horizon, d = shape[0], self.features.shape[-1]
        gram = np.tile(lam * np.eye(d), (horizon, 1, 1))
        self.policies = self.table("policies", np.zeros((agents, *shape[:2]), np.int64))
        self.gram, self.server = self.statistic("gram", gram), self.new_counts("server", shape)
        self.downloaded = self.statistic("downloaded", np.broadcast_to(gram, (agents, *gram.shape)))  # Λ_m
        self.local = self.new_counts("local", (agents, *shape))
        self.uploaded = self.statistic("uploaded", np.zeros(2))  # episodes and messages
        self.active = self.statistic("active", np.zeros(1, np.int64))
        self.activate()

    def new_counts(self, name: str, shape: tuple[int, ...]) -> Counts:
        return Counts(self.statistic(f"{name}_number", np.zeros(shape)), self.statistic(f"{name}_reward", np.zeros(shape)))

    def activate(self) -> None:
        """Draw the agent of the next episode."""
        self.active[0] = self.random(int(self.meter[1])).integers(self.agents)
        self.forget()

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, h, _ = read(obs)
        policy = self.policies[self.active[0]]
        return policy[np.minimum(h, len(policy) - 1), state]

    def learn(self, rows: Rows) -> None:
        m = self.active[0]
        Counts(self.local.number[m], self.local.reward[m]).add(rows)

    def replan(self) -> None:
        """Communicate, if the trigger fires; then the next agent's turn."""
        m = self.active[0]
        local = np.einsum("hsa,sai,saj->hij", self.local.number[m].sum(-1), self.features, self.features)
        if (np.linalg.det(self.downloaded[m] + local) > (1 + self.alpha) * np.linalg.det(self.downloaded[m])).any():
            seen = self.local.number[m] > 0
            self.gram += local
            self.server.number[...] += self.local.number[m]
            self.server.reward[seen] = self.local.reward[m][seen]
            self.uploaded += self.local.number[m][0].sum(), 2
            self.local.number[m], self.downloaded[m] = 0.0, self.gram
            self.policies[m] = lsvi(self.gram, self.server, self.features, self.beta()).argmax(-1)
        self.activate()

    def beta(self) -> float:
        """c β."""
        horizon, d = self.gram.shape[:2]
        log = math.log(2 * d * horizon * max(self.uploaded[0], 1.0) / self.confidence)
        return self.bonus_scale * d * horizon * math.sqrt(2.0 * log)

    def best_value(self) -> float:
        return float(self.world.mdp.start @ backward_induction(self.world.mdp)[1][0])

    def value(self) -> float:
        """Value of the active agent's policy."""
        played = np.eye(self.world.mdp.num_actions)[self.policies[self.active[0]]]
        return float(self.world.mdp.start @ backward_induction(self.world.mdp, policy=played)[1][0])

    def diagnostics(self, step: int) -> dict[str, float]:
        return {**super().diagnostics(step), "rollout/messages": float(self.uploaded[1])}
