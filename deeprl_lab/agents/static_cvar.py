"""Static CVaR of the total reward, tabular UCB (Wang, Kallus, Sun, "Near-Minimax-Optimal Risk-Sensitive Reinforcement Learning with CVaR",
ICML 2023).

    U_h(s, b, a) = max(0, Ê U_{h+1}(s', b − r) − bonus),    b_k = argmax_b { b − U_1(s_1, b)/τ },    act greedily from (s_1, b_k), b ← b − r

U is a loss, so optimism subtracts its bonus. At the best budget P(R ≤ b) is about τ, so the variance of (b − R)⁺ is at most about τ, and
Bernstein's bonus is smaller by √τ than Hoeffding's. With τ = 1 the agent is UCBVI. From memory, with constants of ours; the paper's bonuses
for the truncated value are not repeated here.
"""

from __future__ import annotations

import numpy as np

from deeprl.extend import Rows, Spec, in_range
from deeprl_lab.mathematics import budget
from deeprl_lab.mathematics.counts import Counts, read, require_steady
from deeprl_lab.mathematics.optimism import Bonus
from deeprl_lab.planning_agent import PlanningAgent


class StaticCVaR(PlanningAgent):
    """Agent for the episodic worlds that start in one state.

    Args:
        tau: τ.
        grid: η; every reward must be a multiple of it. Coarser rewards would have to be rounded, at a cost of up to H η/τ.
        optimism: the bonus of counts.

    Raises:
        ValueError: a value is out of range, or the world does not fit.
    """

    def __init__(self, *, spec: Spec, seed: int, world, tau: float, grid: float, optimism: Bonus):
        super().__init__(spec=spec, seed=seed, world=world)
        self.tau, self.grid, self.optimism, mdp = tau, grid, optimism, world.mdp
        in_range(self, tau=(1e-6, 1), grid=(1e-6, None))
        if mdp.horizon is None or mdp.start.max() < 1:
            raise ValueError("world must have a horizon and one first state: env=lab/risk_ladder, lab/random_mdp ...")
        require_steady(world)
        self.index, shape = budget.indices(mdp.reward, grid), mdp.transition.shape
        self.budgets = mdp.horizon * int(self.index.max()) + 1
        self.policy = self.table("policy", np.zeros((*shape[:2], self.budgets), np.int64))
        self.first = self.table("first", np.zeros(1, np.int64))  # the budget of the first state, in steps of the grid
        self.counts = Counts(self.statistic("number", np.zeros(shape)), self.statistic("reward", np.zeros(shape)))

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, h, total = read(obs)
        left = np.clip(self.first[0] - np.rint(total / self.grid).astype(int), 0, self.budgets - 1)
        return self.policy[np.minimum(h, len(self.policy) - 1), state, left]

    def learn(self, rows: Rows) -> None:
        self.counts.add(rows)

    def replan(self) -> None:
        p, n = self.counts.model()
        log, size = self.optimism.log_term(n.size, self.meter[1]), self.grid * (self.budgets - 1)

        def lower(h: int, e: np.ndarray, variance: np.ndarray) -> np.ndarray:
            number = n[h][..., None]
            return np.where(number > 0, np.maximum(e - self.optimism.width(number, size, variance, log), 0.0), 0.0)

        u, self.policy[...] = budget.plan(p, np.rint(self.counts.reward / self.grid).astype(int), self.grid, self.budgets, lower)
        self.first[0], _ = budget.best_budget(u[self.world.mdp.start.argmax()], self.grid, self.tau)

    def best_value(self) -> float:
        mdp = self.world.mdp
        u, _ = budget.plan(mdp.transition, self.index, self.grid, self.budgets)
        return budget.best_budget(u[mdp.start.argmax()], self.grid, self.tau)[1]

    def value(self) -> float:
        law = budget.total_law(self.world.mdp, self.index, self.policy, int(self.first[0]))
        return budget.static_cvar(law, self.grid, self.tau)
