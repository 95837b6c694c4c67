"""RAVI-UCB (Moulin, Neu, "Optimistic Planning by Regularized Dynamic Programming", ICML 2023), tabular. Discounted, one stream of data,
epochs of geometric length with mean 1/(1 − γ).

    at the end of an epoch, once:   Q ← clip( r̂ + bonus + γ P̂ V, 0, 1/(1 − γ) )
                                    V ← (1/η) ln Σ_a π e^{ηQ},    π ∝ π e^{ηQ}
    bonus                           c H √(S L / n),  H = 1/(1 − γ),  L = ln(2 S A k / δ);  H where n = 0, whatever c is

Optimism survives because π moves slowly, not because the planning problem is solved. `Converged` solves it in every epoch (UCBVI for
discounted problems), the arm to compare with. From memory: the structure is the paper's, the constants are ours. There are no resets to
the first state at the ends of epochs, which the paper allows; ridge regression for linear mixtures is not here.

The meter's regret is Σ_k (1 − γ) (V*(s_1) − V^{π_k}(s_1)) over epochs, s_1 the world's first state: in units of reward a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, Rows, Spec, in_range
from deeprl_lab.mathematics.planners import discounted_values
from deeprl_lab.planning_agent import PlanningAgent


class Planning(Choice):
    """What an agent does with an estimated model at the end of an epoch."""

    def __call__(self, reward: np.ndarray, kernel: np.ndarray, discount: float, v: np.ndarray, log_policy: np.ndarray) -> tuple:
        """Rewards with bonus (S, A), kernel (S, A, S), V (S,), ln π (S, A) -> new Q, V, ln π."""
        raise NotImplementedError


@dataclass(frozen=True)
class Mirror(Planning):
    """The paper's: one regularised update.

    Args:
        eta: η; theory has it of order √(ln A / K) for K epochs.
    """

    eta: float = 0.1

    def __post_init__(self):
        in_range(self, eta=(1e-9, None))

    def __call__(self, reward, kernel, discount, v, log_policy):
        """See `Planning`."""
        q = np.clip(reward + discount * kernel @ v, 0.0, 1.0 / (1.0 - discount))
        grown = log_policy + self.eta * q
        total = np.logaddexp.reduce(grown, axis=-1)
        return q, total / self.eta, grown - total[:, None]


@dataclass(frozen=True)
class Converged(Planning):
    """Value iteration until it moves less than `tolerance`, and its greedy policy."""

    tolerance: float = 1e-3

    def __post_init__(self):
        in_range(self, tolerance=(1e-12, None))

    def __call__(self, reward, kernel, discount, v, log_policy):
        """See `Planning`."""
        while True:
            q = np.clip(reward + discount * kernel @ v, 0.0, 1.0 / (1.0 - discount))
            v, old = q.max(-1), v
            if np.abs(v - old).max() < self.tolerance:
                return q, v, np.where(np.eye(q.shape[1])[q.argmax(-1)] > 0, 0.0, -1e9)


class RaviUCB(PlanningAgent):
    """Agent for the worlds without end.

    Args:
        discount: γ, below 1.
        planning: one regularised update, or value iteration to its end.
        bonus_scale: c.
        confidence: δ.

    Raises:
        ValueError: a value is out of range, or the world's episodes have an end.
    """

    def __init__(self, *, spec: Spec, seed: int, world, discount: float, planning: Planning, bonus_scale: float, confidence: float):
        super().__init__(spec=spec, seed=seed, world=world)
        self.discount, self.planning, self.bonus_scale, self.confidence, mdp = discount, planning, bonus_scale, confidence, world.mdp
        in_range(self, discount=(0, 0.999999), bonus_scale=(0, None), confidence=(1e-12, 1))
        if mdp.horizon is not None:
            raise ValueError("world must be without end, because the criterion is discounted: env=lab/river_swim, lab/garnet ...")
        shape = mdp.states, mdp.num_actions
        self.log_policy = self.table("log_policy", np.full(shape, -math.log(shape[1])))
        self.v = self.statistic("v", np.full(mdp.states, 1.0 / (1.0 - discount)))
        self.number, self.reward = self.statistic("number", np.zeros((*shape, shape[0]))), self.statistic("reward", np.zeros(shape))
        self.ticks = self.statistic("ticks", np.zeros(1, np.int64))

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        chosen = self.log_policy[obs.argmax(-1)]
        return chosen.argmax(-1) if u is None else (np.exp(chosen).cumsum(-1)[:, :-1] <= u[:, :1]).sum(-1)

    def learn(self, rows: Rows) -> None:
        state = rows.obs.argmax(-1)
        np.add.at(self.number, (state, rows.action, rows.next_obs.argmax(-1)), 1.0)
        np.add.at(self.reward, (state, rows.action), rows.reward.astype(float))
        self.ticks[0] += 1

    def over(self, rows: Rows) -> bool:
        """Whether an epoch ends, with probability 1 − γ at each tick; ends of the world's episodes mean nothing."""
        return bool(self.random(int(self.ticks[0])).random() < 1.0 - self.discount)

    def replan(self) -> None:
        n, size = self.number.sum(-1), 1.0 / (1.0 - self.discount)
        seen = np.maximum(n, 1.0)
        log = math.log(2 * n.size * (1 + self.meter[1]) / self.confidence)
        bonus = np.where(n > 0, self.bonus_scale * size * np.sqrt(len(n) * log / seen), size)
        _, self.v[...], self.log_policy[...] = self.planning(
            self.reward / seen + bonus, self.number / seen[..., None], self.discount, self.v, self.log_policy
        )

    def best_value(self) -> float:
        return self.normalised(discounted_values(self.world.mdp, self.discount)[1])

    def value(self) -> float:
        return self.normalised(discounted_values(self.world.mdp, self.discount, np.exp(self.log_policy))[1])

    def normalised(self, v: np.ndarray) -> float:
        return float((1.0 - self.discount) * self.world.mdp.start @ v)
