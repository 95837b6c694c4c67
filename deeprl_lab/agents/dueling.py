"""Duelling RL (Saha, Pacchiano, Lee, "Dueling RL: Reinforcement Learning with Trajectory Preferences", AISTATS 2023): the agent plays two
policies and is told which trajectory was preferred, never a reward.

    ŵ        ridge logistic regression on the differences z of trajectory features;   V = κ λ I + Σ z zᵀ
    keep     Π = { π : ⟨φ(π) − φ(π'), ŵ⟩ + c β ‖φ(π) − φ(π')‖_{V⁻¹} + B(π) + B(π') ≥ 0 for all π' }
    play     the pair in Π with the largest ‖φ(π₀) − φ(π₁)‖_{V⁻¹}

φ(π) are the expected features, visits of each (h, s, a). They are exact, and B = 0, with `Known` dynamics; with `Counted` ones they are
those of the estimated kernel, and B(π) is the expected sum of count bonuses. From memory: the structure is the paper's. Of ours are
κ = 1/σ'(H) and β = √λ + √(ln(1/δ) + d ln(1 + k H/(κ λ d))) after k comparisons. All deterministic policies are listed, 2^7 in the default
world.

Regret of an episode is (2 V* − V(π₀) − V(π₁))/2.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from deeprl.extend import Rows, Spec, counts, in_range
from deeprl_lab.mathematics.counts import read
from deeprl_lab.mathematics.dynamics import Known
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction
from deeprl_lab.mathematics.preferences import Comparisons, logistic_ridge
from deeprl_lab.planning_agent import PlanningAgent


def deterministic_policies(mdp: FiniteMDP) -> np.ndarray:
    """All (P, H, S) that differ where the process can be, given its first states.

    Raises:
        ValueError: they are more than 4,096.
    """
    free = np.ones((mdp.outcomes, mdp.states), bool)
    free[0] = mdp.start > 0
    number = mdp.num_actions ** int(free.sum())
    if number > 4096:
        raise ValueError(f"env has {number} deterministic policies, of at most 4096: use a smaller env.horizon or env.states")
    policies = np.zeros((number, *free.shape), np.int64)
    policies[:, free] = list(itertools.product(range(mdp.num_actions), repeat=int(free.sum())))
    return policies


def occupancies(kernel: np.ndarray, start: np.ndarray, policies: np.ndarray) -> np.ndarray:
    """Expected visits (P, H, S, A) of policies (P, H, S)."""
    played = np.eye(kernel.shape[2])[policies]
    at, found = np.broadcast_to(start, (len(policies), len(start))), np.zeros(played.shape)
    for h in range(len(kernel)):
        found[:, h] = at[..., None] * played[:, h]
        at = np.einsum("psa,sat->pt", found[:, h], kernel[h])
    return found


def candidates(score: np.ndarray, width: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """Which of P policies may be the best one, (P,) bool, from scores (P,), widths of their differences (P, P) and bonuses (P,)."""
    return (score[:, None] - score + width + slack[:, None] + slack >= 0).all(1)


class Dueling(PlanningAgent):
    """Agent for `env=lab/duel`. In evaluation both trajectories follow the policy that is best under ŵ.

    Args:
        dynamics: known, or counted.
        bonus_scale, confidence, lam: c, δ, λ.
        capacity: most comparisons that can be kept.

    Raises:
        ValueError: a value is out of range, or the world has no duels or too many policies; while it learns, `capacity` is exceeded.
    """

    wanted = "compared"

    def __init__(self, *, spec: Spec, seed: int, world, dynamics: Known, bonus_scale: float, confidence: float, lam: float, capacity: int):
        super().__init__(spec=spec, seed=seed, world=world)
        self.dynamics, self.bonus_scale, self.confidence, self.lam, self.capacity = dynamics, bonus_scale, confidence, lam, capacity
        in_range(self, bonus_scale=(0, None), confidence=(1e-12, 1), lam=(1e-9, None))
        counts(self, capacity=1)
        self.mdp: FiniteMDP = world.compared
        self.shape = self.mdp.transition.shape[:3]
        self.horizon, d = self.shape[0], math.prod(self.shape)
        self.policies = deterministic_policies(self.mdp)
        self.pair = self.table("pair", np.zeros(3, np.int64))  # two to play, and the best under ŵ
        self.w = self.statistic("w", np.zeros(d))
        self.gram = self.statistic("gram", (2 + 2 * math.cosh(self.horizon)) * lam * np.eye(d))  # 1/σ'(x) = 2 + 2 cosh x
        self.number = self.statistic("number", np.zeros(self.mdp.transition.shape))
        self.data = Comparisons.none(self.statistic, capacity, world.num, d)
        self.replan()

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, t, _ = read(obs)
        which = np.minimum(t // self.horizon, 1) if u is not None else 2
        return self.policies[self.pair[which], t % self.horizon, state]

    def learn(self, rows: Rows) -> None:
        (state, t, _), (after, *_) = read(rows.obs), read(rows.next_obs)
        if (t[0] + 1) % self.horizon:
            np.add.at(self.number, (t % self.horizon, state, rows.action, after), 1.0)
        else:  # `after` is the first state of the next trajectory; what follows the last step does not matter
            np.add.at(self.number, (t % self.horizon, state, rows.action), 1.0 / self.mdp.states)
        self.data.visit(rows, self.shape)
        for z, won in zip(self.data.path[rows.ended], rows.reward[rows.ended]):
            self.data.keep(z, float(won))
            self.gram += np.outer(z, z)
        self.data.path[rows.ended] = 0.0

    def replan(self) -> None:
        kernel, bonus = self.dynamics(self.mdp.transition, self.number, self.meter[1])
        phi = occupancies(kernel, self.mdp.start, self.policies).reshape(len(self.policies), -1)
        self.w[...] = logistic_ridge(*self.data.known(), self.lam, self.w)
        inner = phi @ np.linalg.solve(self.gram, phi.T)
        norm = np.sqrt(np.maximum(np.diag(inner)[:, None] + np.diag(inner) - 2 * inner, 0.0))
        score, slack = phi @ self.w, phi @ bonus.ravel()
        kept = candidates(score, self.beta() * norm, slack)
        norm[~kept], norm[:, ~kept] = -1.0, -1.0
        self.pair[:] = *np.unravel_index(norm.argmax(), norm.shape), score.argmax()

    def beta(self) -> float:
        """c β."""
        d, k, kappa = len(self.w), int(self.data.number[0]), 2 + 2 * math.cosh(self.horizon)
        grown = d * math.log1p(k * self.horizon / (kappa * self.lam * d))
        return self.bonus_scale * (math.sqrt(self.lam) + math.sqrt(math.log(1 / self.confidence) + grown))

    def best_value(self) -> float:
        return float(self.mdp.start @ backward_induction(self.mdp)[1][0])

    def value(self) -> float:
        """Mean value of the two policies that are played."""
        visits = occupancies(self.mdp.transition, self.mdp.start, self.policies[self.pair[:2]])
        return float((visits * self.mdp.expected_reward()).sum()) / 2
