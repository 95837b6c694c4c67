"""Latent MDPs with hindsight (Zhou, Wang, Du, "Horizon-Free and Variance-Dependent Reinforcement Learning for Latent Markov
Decision Processes", ICML 2023). One of M contexts is drawn for an episode; the world tells which at its end.

    counts for each context → P̂_m;   plan in the tree of beliefs with a bonus:  b_m(s, a) = c ( √(2 Var_{P̂_m}(α^m) L / n_m) + L H / n_m )

α^m is the value under context m of the policy that depends on histories. From memory: the structure and Bernstein's form are the paper's;
L = ln(2 M S A k / δ) after k episodes is ours, and n_m = 0 gives the largest value. Planned again when some count of a pair in a context
has doubled. Exact planning costs time and memory that grow with the number of beliefs, at worst (A S)^H: keep S ≤ 4 and H ≤ 6, or H ≤ 12
where outcomes commute as in a bandit. What is known: M, H, the first state, that contexts are uniform, and rewards once seen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from deeprl.extend import Rows, Spec
from deeprl_lab.mathematics import belief
from deeprl_lab.mathematics.optimism import Bonus
from deeprl_lab.planning_agent import PlanningAgent


class LatentMDP(PlanningAgent):
    """Agent for `env=lab/latent_bandit` and `env=lab/latent_random`.

    Args:
        optimism: the bonus of counts.

    Raises:
        ValueError: the world has no contexts.
    """

    wanted = "contexts"

    def __init__(self, *, spec: Spec, seed: int, world, optimism: Bonus):
        super().__init__(spec=spec, seed=seed, world=world)
        self.optimism, self.contexts = optimism, world.contexts
        shape = self.contexts.transition.shape
        self.prior = np.full(shape[0], 1.0 / shape[0])
        # The plan is a tree of no fixed size, so acting stores what determines it: counts and rewards at the last planning.
        self.planned = self.table("planned", np.zeros(shape))
        self.planned_reward = self.table("planned_reward", np.zeros(shape[1:]))
        self.episodes = self.table("episodes", np.zeros(1))
        self.number, self.reward = self.statistic("number", np.zeros(shape)), self.statistic("reward", np.zeros(shape[1:]))

    @cached_property
    def plans(self) -> dict[bytes, tuple[list[belief.Layer], list[np.ndarray]]]:
        """The last plan, by the tables from which it follows, so that no checkpoint holds it."""
        return {}

    # The plan, a function of the tables

    def plan(self) -> tuple[list[belief.Layer], list[np.ndarray]]:
        key = self.planned.tobytes() + self.planned_reward.tobytes() + self.episodes.tobytes()
        if key not in self.plans:
            n = self.planned.sum(-1)  # (M, S, A)
            p = np.where(n[..., None] > 0, self.planned / np.maximum(n, 1.0)[..., None], 1.0 / self.planned.shape[-1])
            layers = belief.tree(p, self.prior, self.contexts.horizon)
            self.plans.clear()
            self.plans[key] = layers, belief.plan(layers, p, self.planned_reward, self.bonus(n))[0]
        return self.plans[key]

    def bonus(self, n: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Function of states (N,) and variances that gives their bonuses (N, A, M), for counts (M, S, A); H where there is no count."""
        horizon, log = self.contexts.horizon, self.optimism.log_term(n.size, self.episodes[0])

        def of(state: np.ndarray, variance: np.ndarray) -> np.ndarray:
            number = np.moveaxis(n[:, state], 0, -1)
            return np.where(number > 0, self.optimism.width(number, horizon, variance, log), horizon)

        return of

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        layers, actions = self.plan()
        states, horizon = self.planned.shape[1], self.contexts.horizon
        past, found = obs[:, states + 2 : states + 2 + horizon].astype(int) - 1, np.zeros(len(obs), np.int64)
        for i, row in enumerate(past):
            node, h = 0, min(int((row >= 0).sum()), horizon - 1)
            for layer, code in zip(layers, row[:h]):
                node = layer.child[node, code // states, code % states]
            found[i] = actions[h][node]
        return found

    # Learning

    def learn(self, rows: Rows) -> None:
        states, horizon = self.planned.shape[1], self.contexts.horizon
        self.reward[rows.obs[:, :states].argmax(-1), rows.action, rows.next_obs[:, :states].argmax(-1)] = rows.reward
        for obs in rows.next_obs[rows.ended]:  # hindsight
            context, state = obs[states + 2 + horizon :].argmax(), 0
            for code in obs[states + 2 : states + 2 + horizon].astype(int) - 1:
                action, after = divmod(code, states)
                self.number[context, state, action, after] += 1.0
                state = after

    def replan(self) -> None:
        before, now = self.planned.sum(-1), self.number.sum(-1)
        if (now >= 2 * np.maximum(before, 0.5)).any():
            self.planned[...], self.planned_reward[...], self.episodes[0] = self.number, self.reward, self.meter[1]

    def best_value(self) -> float:
        true = self.contexts
        layers = belief.tree(true.transition, true.prior, true.horizon)
        return float(true.prior @ belief.plan(layers, true.transition, true.reward)[1])

    def value(self) -> float:
        return float(self.contexts.prior @ belief.evaluate(*self.plan(), self.contexts.transition, self.contexts.reward))
