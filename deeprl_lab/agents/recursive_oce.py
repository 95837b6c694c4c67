"""Recursive optimised certainty equivalents, tabular; with CVaR it is iterated CVaR.

    Q_h(s, a) = OCE_{P̂}( r_h(s, a, s') + V_{h+1}(s') ) + c |u(−(H − h))| √(L / n),   clipped to [0, H − h];    V = max_a Q

u is the utility of the measure; |u(−(H − h))| is the largest loss that it can see, (H − h)/τ for CVaR_τ. Sources: Xu, Gao, He,
"Regret Bounds for Markov Decision Processes with Recursive Optimized Certainty Equivalents" (ICML 2023), and Du, Wang, Huang, "Provably
Efficient Risk-Sensitive Reinforcement Learning: Iterated CVaR and Worst Path" (ICLR 2023). Both from memory: the structure is theirs,
constants are ours. The reward is inside of the measure, and lies in [0, 1]. With `agent/risk=mean` it is UCBVI.
"""

from __future__ import annotations

import numpy as np

from deeprl.extend import Rows, Spec
from deeprl_lab.mathematics.counts import Counts, read, require_steady
from deeprl_lab.mathematics.optimism import Bernstein, Bonus
from deeprl_lab.mathematics.planners import backward_induction
from deeprl_lab.mathematics.risk import Mean, Risk
from deeprl_lab.planning_agent import PlanningAgent


class RecursiveOCE(PlanningAgent):
    """Agent for the episodic worlds.

    Args:
        risk: the measure, applied in every step.
        optimism: the bonus of counts; Bernstein's with the mean alone, because it takes the variance of outcomes, not of utilities.

    Raises:
        ValueError: the world has no horizon, or noisy rewards, or the bonus does not fit the measure.
    """

    def __init__(self, *, spec: Spec, seed: int, world, risk: Risk, optimism: Bonus):
        super().__init__(spec=spec, seed=seed, world=world)
        self.risk, self.optimism, mdp = risk, optimism, world.mdp
        if mdp.horizon is None:
            raise ValueError("world must have a horizon, because the agent plans for each step: env=lab/risk_ladder, lab/random_mdp ...")
        require_steady(world)
        if isinstance(optimism, Bernstein) and not isinstance(risk, Mean):
            raise ValueError(
                f"optimism must be hoeffding or none with risk={type(risk).__name__}, because Bernstein's bonus takes the variance of what "
                "is averaged, here utilities: agent/optimism=hoeffding, or agent/risk=mean"
            )
        shape = mdp.transition.shape
        self.policy = self.table("policy", np.zeros(shape[:2], np.int64))
        self.counts = Counts(self.statistic("number", np.zeros(shape)), self.statistic("reward", np.zeros(shape)))

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, h, _ = read(obs)
        return self.policy[np.minimum(h, len(self.policy) - 1), state]

    def learn(self, rows: Rows) -> None:
        self.counts.add(rows)

    def replan(self) -> None:
        p, n = self.counts.model()
        horizon, log, v = len(p), self.optimism.log_term(n.size, self.meter[1]), np.zeros(p.shape[-1])
        for h in reversed(range(horizon)):
            outcome = self.counts.reward[h] + v
            size = self.risk.loss(horizon - h)
            spread = np.maximum((p[h] * outcome**2).sum(-1) - (p[h] * outcome).sum(-1) ** 2, 0.0)
            q = self.risk.worth(p[h], outcome) + self.optimism.width(n[h], size, spread, log)
            q = np.where(n[h] > 0, np.clip(q, 0.0, horizon - h), horizon - h)
            self.policy[h], v = q.argmax(-1), q.max(-1)

    def best_value(self) -> float:
        return float(self.world.mdp.start @ backward_induction(self.world.mdp, self.risk.worth)[1][0])

    def value(self) -> float:
        played = np.eye(self.world.mdp.num_actions)[self.policy]
        return float(self.world.mdp.start @ backward_induction(self.world.mdp, self.risk.worth, played)[1][0])
