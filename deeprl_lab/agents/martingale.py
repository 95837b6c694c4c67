"""Policy evaluation in continuous time, by least squares on one criterion of `deeprl_lab.mathematics.martingale`."""

from __future__ import annotations

import numpy as np

from deeprl.extend import Rows, Spec
from deeprl_lab.mathematics.martingale import Criterion, solved
from deeprl_lab.planning_agent import PlanningAgent

POINTS = np.linspace(-1.0, 1.0, 21)
"""x at which values are compared with the truth, in the middle of an episode"""


class MartingaleEvaluation(PlanningAgent):
    """Agent for `env=lab/brownian`, `lab/ornstein_uhlenbeck`, `lab/linear_diffusion` and `lab/sine`. It solves for w at the end of
    episodes, and has nothing to choose.

    Args:
        criterion: what w must fulfil.
    """

    wanted = "gamma"

    def __init__(self, *, spec: Spec, seed: int, world, criterion: Criterion):
        super().__init__(spec=spec, seed=seed, world=world)
        self.criterion, size = criterion, len(world.truth)
        self.w = self.table("w", np.zeros(size))
        self.left = self.statistic("left", np.zeros((size, size)))
        self.right = self.statistic("right", np.zeros(size))
        self.trace = self.statistic("trace", np.zeros((world.num, size)))

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        return np.zeros(len(obs), np.int64)

    def learn(self, rows: Rows) -> None:
        now, later = (self.world.features(*each.astype(float).T) for each in (rows.obs, rows.next_obs))
        later = later * ~rows.terminated[:, None]
        trace, left, right = self.criterion(self.trace, now, later, rows.reward.astype(float), self.world.gamma, self.world.step)
        self.trace[:] = trace * ~rows.ended[:, None]
        self.left += left
        self.right += right

    def observe(self, rows: Rows) -> None:
        self.learn(rows)
        if self.over(rows):
            self.meter[1] += len(rows.ended)
            self.replan()

    def replan(self) -> None:
        self.w[:] = solved(self.left, self.right)

    def value_error(self) -> float:
        """max |V_w − V| over `POINTS`."""
        features = self.world.features(POINTS, np.full_like(POINTS, self.world.horizon / 2))
        return float(np.abs(features @ (self.w - self.world.truth)).max())

    def diagnostics(self, step: int) -> dict[str, float]:
        return {"rollout/episodes": float(self.meter[1]), "train/value_error": self.value_error()}
