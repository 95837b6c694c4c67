"""OMG-CMDP! (Levy, Cohen, Cassel, Mansour, "Efficient Rate Optimal Regret for Adversarial Contextual MDPs Using Online Function
Approximation", ICML 2023): contexts come in any order, and two on-line regressions say what follows from them.

    f̂  rewards, ridge regression on (1, c) for each (h, s, a);     P̂  transitions, softmax regression by log-loss (AdaGrad)
    in context c play q normalised, q maximising  Σ q f̂(c) + (1/γ) Σ ln q  over the occupancies of P̂(c);    γ = scale · √k in episode k

From memory: the structure is the paper's, whose γ is constant and of order √T; the two regressions are choices of ours. `EpsilonPlanning`
takes the best policy of the same estimates, or with probability ε an action at random: the arm to compare with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deeprl.extend import Choice, Rows, Spec, in_range
from deeprl_lab.mathematics import ridge
from deeprl_lab.mathematics.barrier import barrier_occupancy
from deeprl_lab.mathematics.counts import read
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction, softmax
from deeprl_lab.planning_agent import PlanningAgent


class ContextPlanning(Choice):
    """What is played, given the estimates."""

    def __call__(self, mdp: FiniteMDP, episode: float) -> np.ndarray:
        """Estimated MDP of a context -> policy (H, S, A)."""
        raise NotImplementedError


@dataclass(frozen=True)
class LogBarrier(ContextPlanning):
    """Args:
    scale: γ = scale · √k.
    """

    scale: float = 10.0

    def __post_init__(self):
        in_range(self, scale=(1e-6, None))

    def __call__(self, mdp, episode):
        q = barrier_occupancy(mdp, self.scale * math.sqrt(1.0 + episode))
        return q / q.sum(-1, keepdims=True)


@dataclass(frozen=True)
class EpsilonPlanning(ContextPlanning):
    """Args:
    epsilon: ε.
    """

    epsilon: float = 0.1

    def __post_init__(self):
        in_range(self, epsilon=(0, 1))

    def __call__(self, mdp, episode):
        q = backward_induction(mdp)[0]
        return self.epsilon / q.shape[-1] + (1 - self.epsilon) * np.eye(q.shape[-1])[q.argmax(-1)]


class ContextualMDP(PlanningAgent):
    """Agent for `env=lab/contextual`. Regret is against the best policy of each context that was met; suboptimality is the mean over the
    contexts of the first 16 episodes.

    Args:
        planning: the barrier, or ε.
        lam: λ of the rewards' regression.
        rate: step size of AdaGrad.

    Raises:
        ValueError: a value is out of range, or the world has no contexts.
    """

    wanted = "context"

    def __init__(self, *, spec: Spec, seed: int, world, planning: ContextPlanning, lam: float, rate: float):
        super().__init__(spec=spec, seed=seed, world=world)
        self.planning, self.lam, self.rate = planning, lam, rate
        in_range(self, lam=(1e-9, None), rate=(1e-9, None))
        self.shape = shape = (world.horizon, world.states, world.num_actions)
        self.gram = self.statistic("gram", np.broadcast_to(lam * np.eye(3), (*shape, 3, 3)))
        self.moment = self.statistic("moment", np.broadcast_to(lam * np.array([0.5, 0.0, 0.0]), (*shape, 3)))  # towards 1/2
        self.w, self.squares = (
            self.statistic("w", np.zeros((*shape, shape[1], 3))),
            self.statistic("squares", np.zeros((*shape, shape[1], 3))),
        )
        self.reward_weights = self.table("reward_weights", np.broadcast_to(np.array([0.5, 0.0, 0.0]), (*shape, 3)))
        self.logits, self.episodes = self.table("logits", np.zeros(self.w.shape)), self.table("episodes", np.zeros(1))
        self.met = np.zeros((0, 2))  # contexts of the episodes that have just ended

    @cached_property
    def solved(self) -> dict[bytes, np.ndarray]:
        """Policies of the present tables, by context. They follow from the state, so that no checkpoint holds them."""
        return {}

    def forget(self) -> None:
        super().forget()
        vars(self).pop("solved", None)

    def estimate(self, context: np.ndarray) -> FiniteMDP:
        x = np.array([1.0, *context])
        p = softmax(self.logits @ x)
        return FiniteMDP(p, np.clip(self.reward_weights @ x, 0.0, 1.0), np.full(self.shape[1], 1 / self.shape[1]), self.shape[0])

    def policy(self, context: np.ndarray) -> np.ndarray:
        """(H, S, A)."""
        key = context.tobytes()
        if key not in self.solved:
            self.solved[key] = self.planning(self.estimate(context), float(self.episodes[0]))
        return self.solved[key]

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, h, _ = read(obs[:, :-2])
        chosen = np.stack([self.policy(row[-2:].astype(float))[min(t, len(self.logits) - 1), s] for row, t, s in zip(obs, h, state)])
        return chosen.argmax(-1) if u is None else (chosen.cumsum(-1)[:, :-1] <= u[:, :1]).sum(-1)

    def learn(self, rows: Rows) -> None:
        (state, h, _), (after, *_) = read(rows.obs[:, :-2]), read(rows.next_obs[:, :-2])
        for at, following, y, context in zip(zip(h, state, rows.action), after, rows.reward.tolist(), rows.obs[:, -2:].astype(float)):
            x = np.array([1.0, *context])
            self.gram[at] += np.outer(x, x)
            self.moment[at] += y * x
            gradient = np.outer(softmax(self.w[at] @ x) - np.eye(self.shape[1])[following], x)
            self.squares[at] += gradient**2
            self.w[at] -= self.rate * gradient / np.sqrt(np.maximum(self.squares[at], 1e-12))
        self.met = rows.obs[rows.ended, -2:].astype(float)

    def replan(self) -> None:
        self.reward_weights[...], self.logits[...] = ridge.weights(self.gram, self.moment), self.w
        self.episodes[0] = self.meter[1]
        self.met = self.met[:0]  # what the meter has counted is no state
        self.forget()

    def gap(self, context: np.ndarray) -> float:
        """Best value minus value of the policy, in one context."""
        mdp = self.world.at(context)
        return float(mdp.start @ (backward_induction(mdp)[1][0] - backward_induction(mdp, policy=self.policy(context))[1][0]))

    def regret(self, episodes: int) -> float:
        return sum(self.gap(context) for context in self.met)

    def best_value(self) -> float:
        return 0.0

    def value(self) -> float:
        return -float(np.mean([self.gap(self.world.context(k)) for k in range(16)]))
