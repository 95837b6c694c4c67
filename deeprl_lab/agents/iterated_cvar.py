"""Iterated CVaR with function approximation (Chen, Du, Hu, Wang, Wu, Huang, "Provably Efficient Iterated CVaR Reinforcement Learning with
Function Approximation and Human Feedback", ICLR 2024). Rewards are known, kernels are not.

    ψ_x(s, a)   E (x − V_{h+1}(s'))⁺ under each known kernel,    CVaR_τ = max_x { x − ψ̂_x(s, a)/τ },    x on a grid of step ε
    data        of a visited (s, a): the level x̂ of the largest width, and the target (x̂ − V_{h+1}(s'))⁺
    Q_h(s, a) = clip( r + CVaR_τ + 2ε + width of ψ_x̂ / τ, 0, H − h )

The classes of models, and what is from memory, are in `deeprl_lab.agents.model_classes`.

Bad branches may be met with a probability of only τ^H, so regret contains τ^(−(H+1)/2): keep H ≤ 4 at τ = ½. Learning from preferences, the
paper's second half, is not here.
"""

from __future__ import annotations

import numpy as np

from deeprl.extend import Rows, Spec, counts
from deeprl_lab.agents.model_classes import ModelClass
from deeprl_lab.mathematics.counts import read
from deeprl_lab.mathematics.planners import backward_induction
from deeprl_lab.mathematics.risk import CVaR
from deeprl_lab.planning_agent import PlanningAgent


class IteratedCVaR(PlanningAgent):
    """Agent for `env=lab/linear_mixture`.

    Args:
        tau: τ.
        points: of the grid of x on [0, H]; ε = H / (points − 1).
        models: the class of kernels.

    Raises:
        ValueError: a value is out of range, or the world has no such kernels.
    """

    wanted = "candidates"

    def __init__(self, *, spec: Spec, seed: int, world, tau: float, points: int, models: ModelClass):
        super().__init__(spec=spec, seed=seed, world=world)
        self.risk, self.models, self.points = CVaR(tau), models, points
        counts(self, points=2)
        self.kernels, self.reward = getattr(world, models.source), world.mdp.expected_reward()
        horizon, states, actions = self.reward.shape
        self.grid = np.linspace(0.0, horizon, points)
        self.policy = self.table("policy", np.zeros((horizon, states), np.int64))
        self.v = self.statistic("v", np.zeros((horizon + 1, states)))
        self.level = self.statistic("level", np.full((horizon, states, actions), float(horizon)))  # x̂
        self.stored = {name: self.statistic(name, value) for name, value in models.statistics(horizon, len(self.kernels)).items()}

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, h, _ = read(obs)
        return self.policy[np.minimum(h, len(self.policy) - 1), state]

    def learn(self, rows: Rows) -> None:
        (state, h, _), (after, *_) = read(rows.obs), read(rows.next_obs)
        for t, s, a, following in zip(h, state, rows.action, after):
            short = np.maximum(self.level[t, s, a] - self.v[t + 1], 0.0)
            self.models.add(self.stored, t, self.kernels[:, s, a] @ short, short[following])

    def replan(self) -> None:
        horizon, epsilon = len(self.policy), self.grid[1]
        for h in reversed(range(horizon)):
            short = np.maximum(self.grid[:, None] - self.v[h + 1], 0.0)  # (G, S)
            psi = np.einsum("isat,gt->gsai", self.kernels, short)
            mean, width = self.models.estimate(self.stored, h, psi, horizon, self.meter[1])
            worth = (self.grid[:, None, None] - mean / self.risk.tau).max(0)
            q = np.clip(self.reward[h] + worth + 2 * epsilon + width.max(0) / self.risk.tau, 0.0, horizon - h)
            self.level[h], self.policy[h], self.v[h] = self.grid[width.argmax(0)], q.argmax(-1), q.max(-1)

    def best_value(self) -> float:
        return float(self.world.mdp.start @ backward_induction(self.world.mdp, self.risk.worth)[1][0])

    def value(self) -> float:
        played = np.eye(self.reward.shape[-1])[self.policy]
        return float(self.world.mdp.start @ backward_induction(self.world.mdp, self.risk.worth, played)[1][0])
