"""DTR bandit (Hu and Kallus, "DTR Bandit: Learning to Make Response-Adaptive Decisions With Low Regret"): two stages, two actions, and
values that are linear in a covariate x, φ = (1, x).

    forced pulls   in round i = 0, 1, … from episode (2ⁱ − 1) 4q on: q episodes with each of the four pairs (a₁, a₂)
    two fits       β̃ from forced episodes, β̂ from all: stage 2 on the reward, then stage 1 on max_a of the fitted value of stage 2
    stage m        the larger β̃ prediction if the two differ by more than δ/2, else the larger β̂ prediction

The forced episodes make β̃ good enough to be right where the actions clearly differ; β̂ decides near the threshold. Regret grows like ln T.

Stage 2 is fitted for each action on x₂ alone, because the environment's reward depends on nothing else. The authors leave open which fit
acts before it has data: here all fits start at zero, and ties go to action 0. `lam` keeps a fit of fewer than two episodes finite; the
paper's least squares have none.
"""

from __future__ import annotations

import numpy as np

from deeprl.extend import Rows, Spec, counts, in_range
from deeprl_lab.agents.dtr_arms import Exploration, Fits, features
from deeprl_lab.mathematics import ridge
from deeprl_lab.planning_agent import PlanningAgent


class DTRBandit(PlanningAgent):
    """Agent for `env=lab/dtr`.

    Args:
        optimism: forced pulls, or another arm of `deeprl_lab.agents.dtr_arms`.
        lam: λ of the least squares.
        capacity: most episodes that can be kept; stage 1 is fitted again on all of them after each episode.

    Raises:
        ValueError: a value is out of range; while it learns, `capacity` episodes are over.
    """

    wanted = "best_rule_value"

    def __init__(self, *, spec: Spec, seed: int, world, optimism: Exploration, lam: float, capacity: int):
        super().__init__(spec=spec, seed=seed, world=world)
        self.optimism, self.lam, self.capacity = optimism, lam, capacity
        in_range(self, lam=(1e-12, None))
        counts(self, capacity=1)
        self.fits = self.table("fits", np.zeros((2, 2, 2, 2)))  # stage, forced or all, action, feature
        self.inverse = self.table("inverse", np.broadcast_to(np.eye(2) / lam, (2, 2, 2, 2)))  # stage, action
        self.gram = self.statistic("gram", np.broadcast_to(lam * np.eye(2), (2, 2, 2, 2, 2)))  # stage, forced or all, action
        self.moment = self.statistic("moment", np.zeros((2, 2, 2)))  # of stage 2: forced or all, action
        self.history = self.statistic("history", np.zeros((capacity, 4)))  # x₁, a₁, x₂, whether it was forced
        self.number = self.statistic("number", np.zeros(1, np.int64))  # of episodes that are over

    def stage_fits(self, stage: int) -> Fits:
        return Fits(self.fits[stage, 0], self.fits[stage, 1], self.inverse[stage])

    # The rule that `world` evaluates

    def probability(self, x: np.ndarray, stage: int) -> np.ndarray:
        values, epsilon = self.optimism.values(self.stage_fits(stage), features(x)), self.optimism.epsilon
        return epsilon / 2 + (1 - epsilon) * (values[:, 1] > values[:, 0])

    def breaks(self, stage: int) -> np.ndarray:
        return self.optimism.breaks(self.stage_fits(stage))

    def best_value(self) -> float:
        return self.world.best_rule_value()

    def value(self) -> float:
        return self.world.rule_value(self)

    def regret(self, episodes: int) -> float:
        forced = [self.optimism.forced(int(self.number[0]) - episodes + i) for i in range(episodes)]
        fixed = sum(self.optimum - self.world.rule_value(Fixed(pair)) for pair in forced if pair is not None)
        free = forced.count(None)
        return fixed + (free * self.suboptimality() if free else 0.0)

    # The agent

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        x, stage = obs[:, 0].astype(float), np.minimum(obs[:, 1].astype(int), 1)
        p = np.where(stage, self.probability(x, 1), self.probability(x, 0))
        if u is None:
            return p > 0.5
        action = (u[:, 0] < p).astype(int)
        for i in range(len(obs)):
            pair = self.optimism.forced(int(self.number[0]) + i)
            if pair is not None:
                action[i] = pair[stage[i]]
        return action

    def learn(self, rows: Rows) -> None:
        first, x = int(self.number[0]), rows.obs[:, 0].astype(float)
        if first + len(x) > self.capacity:
            raise ValueError(f"the history is full after {first} episodes: begin the run with a larger agent.capacity")
        stage, phi = int(rows.obs[0, 1]), features(x)
        for i, (action, y) in enumerate(zip(rows.action.tolist(), rows.reward.tolist())):
            forced = self.optimism.forced(first + i) is not None
            for fit in range(not forced, 2):
                self.gram[stage, fit, action] += np.outer(phi[i], phi[i])
                if stage:
                    self.moment[fit, action] += phi[i] * y
            if stage:
                self.history[first + i, 2:] = x[i], forced
            else:
                self.history[first + i, :2] = x[i], action
        self.number[0] += len(x) * stage

    def replan(self) -> None:
        self.fits[1] = ridge.weights(self.gram[1], self.moment)
        self.inverse[1] = np.linalg.inv(self.gram[1, 1])
        x, action, then, forced = self.history[: int(self.number[0])].T
        after = features(then)
        targets = [(after @ self.fits[1, 0].T).max(1) * forced, self.optimism.target(self.stage_fits(1), after).max(1)]
        chosen = features(x)[:, None] * np.stack([1 - action, action], 1)[..., None]  # (n, A, 2)
        moment = np.stack([np.einsum("n,nai->ai", target, chosen) for target in targets])
        self.fits[0] = ridge.weights(self.gram[0], moment)
        self.inverse[0] = np.linalg.inv(self.gram[0, 1])


class Fixed:
    """A policy that takes a fixed pair of actions."""

    def __init__(self, pair: tuple[int, int]):
        self.pair = pair

    def probability(self, x: np.ndarray, stage: int) -> np.ndarray:
        return np.full(len(x), float(self.pair[stage]))

    def breaks(self, stage: int) -> np.ndarray:
        return np.empty(0)
