"""Policy optimisation for adversarial linear MDPs with bandit feedback (Luo, Wei, Lee, "Policy Optimization in Adversarial MDPs: Improved
Exploration via Dilated Bonuses", NeurIPS 2021; Sherman, Koren, Mansour, "Improved Regret for Efficient Online RL with Linear Function
Approximation", ICML 2023). Rewards change in every episode, and only those that were met are seen.

    π_k(a|s) ∝ exp( η Σ_{j<k} (Q̂_j + B_j)(s, a) )
    Q̂_h      = φ(s, a)ᵀ Σ⁺_h φ(s_h, a_h) G_h,    Σ⁺_h = (E_π φφᵀ + γ I)⁻¹,    G_h the reward still to come in the episode
    b_h      = c H ( ‖φ‖²_{Σ⁺} + E_π ‖φ‖²_{Σ⁺} ),    B_h = b_h + (1 + 1/H) E_{P,π} B_{h+1}

From memory: the structure is the papers', the scale of the bonus is ours. They estimate Σ⁺ by geometric resampling from episodes, simulated
or past; here it is the inverse for the kernel of `dynamics`, the limit of many samples. There is no warm-up phase of exploration.
`Stationary` takes rewards for stationary and is LSVI-UCB: the arm to compare with.

Regret after k episodes is that to the best fixed policy for these k, so it may fall.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deeprl.extend import Choice, Rows, Spec, in_range
from deeprl_lab.agents.cooperative_lsvi import lsvi
from deeprl_lab.mathematics import ridge
from deeprl_lab.mathematics.counts import Counts, read
from deeprl_lab.mathematics.dynamics import Known
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction, softmax
from deeprl_lab.planning_agent import PlanningAgent


@dataclass(frozen=True)
class LogitUpdate(Choice):
    """How an episode changes the logits of the policy."""

    bonus_scale: float = 0.01

    def __post_init__(self):
        in_range(self, bonus_scale=(0, None))

    def __call__(
        self, logits: np.ndarray, kernel: np.ndarray, extra: np.ndarray, features: np.ndarray, episode: np.ndarray, data: Counts
    ) -> np.ndarray:
        """
        Args:
            logits: (H, S, A).
            kernel, extra: of `dynamics`, (H, S, A, S) and (H, S, A).
            features: (S, A, d).
            episode: states, actions and rewards (M, H, 3).
            data: counts of all episodes, and means of their rewards.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class PolicyOptimisation(LogitUpdate):
    """Args:
    eta, ridge: η and γ.
    """

    bonus_scale: float = 0.001
    eta: float = 0.05
    ridge: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        in_range(self, eta=(0, None), ridge=(1e-9, None))

    def __call__(self, logits, kernel, extra, features, episode, data):
        policy, horizon = softmax(logits), len(logits)
        visits, states = np.zeros(logits.shape), np.eye(logits.shape[1])[int(episode[0, 0, 0])]
        for h in range(horizon):
            visits[h] = states[:, None] * policy[h]
            states = np.einsum("sa,sat->t", visits[h], kernel[h])
        covariance = np.einsum("hsa,sai,saj->hij", visits, features, features)
        inverse = np.linalg.inv(covariance + self.ridge * np.eye(features.shape[-1]))
        grown, dilated = np.zeros(logits.shape), np.zeros(logits.shape[1])
        to_go = np.cumsum(episode[:, ::-1, 2], 1)[:, ::-1]  # G (M, H)
        for h in reversed(range(horizon)):
            squared = ridge.widths(inverse[h], features) ** 2
            bonus = extra[h] + self.bonus_scale * horizon * (squared + (policy[h] * squared).sum(-1, keepdims=True))
            bonus = bonus + (1 + 1 / horizon) * kernel[h] @ dilated
            met = features[episode[:, h, 0].astype(int), episode[:, h, 1].astype(int)]  # (M, d)
            grown[h] = features @ inverse[h] @ (met * to_go[:, h, None]).mean(0) + bonus
            dilated = (policy[h] * bonus).sum(-1)
        return logits + self.eta * grown


@dataclass(frozen=True)
class Stationary(LogitUpdate):
    """LSVI-UCB on all episodes, β = d H, Λ = I + Σ φφᵀ."""

    def __call__(self, logits, kernel, extra, features, episode, data):
        d = features.shape[-1]
        gram = np.eye(d) + np.einsum("hsa,sai,saj->hij", data.number.sum(-1), features, features)
        q = lsvi(gram, data, features, self.bonus_scale * d * len(logits))
        return np.where(np.eye(logits.shape[-1])[q.argmax(-1)] > 0, 0.0, -1e9)


class AdversarialMDP(PlanningAgent):
    """Agent for `env=lab/adversarial_mdp`.

    Args:
        learner: policy optimisation, or LSVI-UCB.
        dynamics: the kernel that policy optimisation plans its bonus with: known, or counted.

    Raises:
        ValueError: the world's rewards do not change.
    """

    wanted = "rewards"

    def __init__(self, *, spec: Spec, seed: int, world, learner: LogitUpdate, dynamics: Known):
        super().__init__(spec=spec, seed=seed, world=world)
        self.learner, self.dynamics = learner, dynamics
        self.process, self.features = world.process, world.simplex.features
        shape = self.process.transition.shape
        self.logits = self.table("logits", np.zeros(shape[:3]))
        self.number, self.sums = self.statistic("number", np.zeros(shape)), self.statistic("sums", np.zeros(shape[:3]))
        self.path = self.statistic("path", np.zeros((world.num, shape[0], 3)))
        self.total = self.statistic("total", np.zeros(shape[:3]))  # sums of all rewards of the episodes so far, for the meter
        self.earned = self.statistic("earned", np.zeros(1))  # and of the values of the policies played

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, h, _ = read(obs)
        chosen = softmax(self.logits[np.minimum(h, len(self.logits) - 1), state])
        return chosen.argmax(-1) if u is None else (chosen.cumsum(-1)[:, :-1] <= u[:, :1]).sum(-1)

    def learn(self, rows: Rows) -> None:
        (state, h, _), (after, *_) = read(rows.obs), read(rows.next_obs)
        np.add.at(self.number, (h, state, rows.action, after), 1.0)
        np.add.at(self.sums, (h, state, rows.action), rows.reward.astype(float))
        self.path[np.arange(len(h)), h] = np.stack([state, rows.action, rows.reward], 1)

    def replan(self) -> None:
        mean = self.sums / np.maximum(self.number.sum(-1), 1.0)
        data = Counts(self.number, np.broadcast_to(mean[..., None], self.number.shape))
        kernel, extra = self.dynamics(self.process.transition, self.number, self.meter[1])
        self.logits[...] = self.learner(self.logits, kernel, extra, self.features, self.path, data)

    def worth(self, reward: np.ndarray, policy: np.ndarray | None = None) -> float:
        """Value of the best policy, or of a policy (H, S, A), for rewards (H, S, A)."""
        mdp: FiniteMDP = replace(self.process, reward=reward)
        return float(mdp.start @ backward_induction(mdp, policy=policy)[1][0])

    def regret(self, episodes: int) -> float:
        reward = episodes * self.world.rewards(int(self.meter[1]) // episodes)
        self.total += reward
        self.earned += self.worth(reward, softmax(self.logits))
        return self.worth(self.total) - self.earned[0] - self.meter[0]

    def suboptimality(self) -> float:
        """For the mean of the rewards so far."""
        mean = self.total / max(self.meter[1], 1.0)
        return self.worth(mean) - self.worth(mean, softmax(self.logits))
