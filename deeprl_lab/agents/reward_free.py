"""Horizon-free reward-free exploration for linear mixtures (Zhang, Zhang, Gu, "Optimal Horizon-Free Reward-Free Exploration for Linear
Mixture MDPs", ICML 2023). Data is collected without rewards; afterwards the model serves any reward whose total is at most 1.

    φ_f(s, a) = ( Σ_s' P_i(s'|s, a) f(s') )_i,    Σ = λI + Σ φ φᵀ/σ²,    θ̂ = Σ⁻¹ Σ φ f(s')/σ²
    u(s, a)   = min(1, c β max_f ‖φ_f(s, a)‖_{Σ⁻¹}),   f over the corners of [0, 1]^S; the best f is the target that is learned at (s, a)
    explore   V_h = clip( max_a u + θ̂ φ_V + c β ‖φ_V‖_{Σ⁻¹}, 0, 1 )
    plan      V_h = clip( max_a r_h + θ̂ φ_V, 0, 1 )
    σ²        = max( p̂(1 − p̂) + c β w, κ w, floor ), at most 1,   p̂ = θ̂ φ_f,  w = ‖φ_f‖_{Σ⁻¹}

From memory: the structure is the paper's. Of ours are β = √(d ln(1 + n/(dλ)) + ln(1/δ)) + √λ after n steps, κ, and the estimated variance:
the paper regresses moments V², V⁴, …, but a corner is an indicator, f² = f, hence its variance is p(1 − p), a function of p with slopes of
at most 1. Actions are best before the clip, so that they explore where all values are 1. With floor = 1 it is plain ridge regression.
"""

from __future__ import annotations

import math

import numpy as np

from deeprl.extend import Rows, Spec, counts, in_range
from deeprl_lab.mathematics import ridge
from deeprl_lab.mathematics.counts import read
from deeprl_lab.planning_agent import PlanningAgent


def plan(kernel: np.ndarray, reward: np.ndarray, cap: float) -> tuple[np.ndarray, np.ndarray]:
    """Backward induction for rewards (R, H, S, A) and a kernel (S, A, S'), values clipped to [0, cap] -> policies (R, H, S), V_1 (R, S)."""
    policy, v = np.zeros(reward.shape[:3], np.int64), np.zeros(reward.shape[::2])
    for h in reversed(range(reward.shape[1])):
        q = reward[:, h] + np.einsum("sat,rt->rsa", kernel, v)
        policy[:, h], v = q.argmax(-1), np.clip(q.max(-1), 0.0, cap)
    return policy, v


def evaluate(kernel: np.ndarray, reward: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """Exact V_1 (R, S) of policies (R, H, S), each for its own reward (R, H, S, A)."""
    v, each = np.zeros(reward.shape[::2]), np.arange(kernel.shape[0])
    for h in reversed(range(reward.shape[1])):
        v = np.take_along_axis(reward[:, h], policy[:, h, :, None], -1)[..., 0] + np.einsum("rst,rt->rs", kernel[each, policy[:, h]], v)
    return v


def unit_rewards(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Rewards (R, H, S, A) whose total is at most 1: in turn U(0, 1)/H everywhere, and 1 for a random half of the pairs in one step."""
    random = np.random.default_rng(0)
    rewards = random.uniform(size=(number, *shape)) / shape[0]
    for goal in rewards[1::2]:
        at = random.integers(shape[0])
        goal[...] = 0.0
        goal[at] = random.random(shape[1:]) < 0.5
    return rewards


class RewardFree(PlanningAgent):
    """Agent for `env=lab/linear_mixture`. Its meter sums, over episodes, the largest suboptimality over R rewards of the policies that it
    would return; in evaluation it plays the one for the world's own reward.

    Args:
        bonus_scale, confidence, lam: c, δ, λ.
        floor, multiple: of σ²; floor and κ.
        epsilon: probability of an action at random while data is collected; 1 is the arm to compare with.
        tasks: R.

    Raises:
        ValueError: a value is out of range, the world is no mixture, or has more than 12 states: there are 2^S corners.
    """

    wanted = "kernels"

    def __init__(
        self, *, spec: Spec, seed: int, world, bonus_scale: float, confidence: float, lam: float, floor: float, multiple: float,
        epsilon: float, tasks: int
    ):  # fmt: skip
        super().__init__(spec=spec, seed=seed, world=world)
        self.bonus_scale, self.confidence, self.lam, self.floor, self.multiple = bonus_scale, confidence, lam, floor, multiple
        self.epsilon, self.tasks = epsilon, tasks
        in_range(self, bonus_scale=(0, None), confidence=(1e-12, 1), lam=(1e-9, None), floor=(1e-9, 1), multiple=(0, None), epsilon=(0, 1))
        counts(self, tasks=1)
        self.kernels, self.reward = world.kernels, world.mdp.expected_reward()
        d, states, actions, _ = self.kernels.shape
        if states > 12:
            raise ValueError(f"env.states={states} has 2^{states} corners: use at most 12")
        self.corners = (np.arange(2**states)[:, None] >> np.arange(states) & 1).astype(float)  # (F, S)
        self.features = np.einsum("isat,ft->safi", self.kernels, self.corners)
        self.policy = self.table("policy", np.zeros((len(self.reward), states), np.int64))
        self.greedy_policy = self.table("greedy_policy", np.zeros((len(self.reward), states), np.int64))
        self.theta = self.table("theta", np.full(d, 1.0 / d))
        self.gram, self.moment = self.statistic("gram", lam * np.eye(d)), self.statistic("moment", np.zeros(d))
        self.inverse = self.statistic("inverse", np.eye(d) / lam)
        self.target = self.statistic("target", np.zeros((states, actions), np.int64))
        self.steps = self.statistic("steps", np.zeros(1))
        self.rank()

    def beta(self) -> float:
        """c β."""
        d, log = len(self.theta), math.log(1.0 / self.confidence)
        return self.bonus_scale * (math.sqrt(d * math.log1p(self.steps[0] / (d * self.lam)) + log) + math.sqrt(self.lam))

    def rank(self) -> np.ndarray:
        """Choose the target of each pair, and return its width (S, A)."""
        widths = ridge.widths(self.inverse, self.features)
        self.target[...] = widths.argmax(-1)
        return widths.max(-1)

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        state, h, _ = read(obs)
        action = (self.greedy_policy if u is None else self.policy)[np.minimum(h, len(self.policy) - 1), state]
        return action if u is None else np.where(u[:, 0] < self.epsilon, (u[:, 1] * self.spec.num_actions).astype(int), action)

    def learn(self, rows: Rows) -> None:
        (state, *_), (after, *_) = read(rows.obs), read(rows.next_obs)
        for s, a, following in zip(state, rows.action, after):
            corner = self.target[s, a]
            phi, f = self.features[s, a, corner], self.corners[corner, following]
            p, width = np.clip(phi @ self.theta, 0.0, 1.0), float(ridge.widths(self.inverse, phi))
            variance = np.clip(max(p * (1 - p) + self.beta() * width, self.multiple * width), self.floor, 1.0)
            self.gram += np.outer(phi, phi) / variance
            self.moment += phi * f / variance
            self.inverse[...], _ = ridge.extended(self.inverse, phi / math.sqrt(variance))
            self.steps += 1

    def replan(self) -> None:
        self.inverse[...] = np.linalg.inv(self.gram)  # updates of rank one drift
        self.theta[...] = ridge.weights(self.gram, self.moment)
        beta, kernel, v = self.beta(), self.kernel(), np.zeros(len(self.target))
        pseudo = np.minimum(beta * self.rank(), 1.0)
        for h in reversed(range(len(self.policy))):
            phi = np.moveaxis(self.kernels @ v, 0, -1)  # (S, A, d)
            q = pseudo + kernel @ v + beta * ridge.widths(self.inverse, phi)
            self.policy[h], v = q.argmax(-1), np.clip(q.max(-1), 0.0, 1.0)
        self.greedy_policy[...] = plan(kernel, self.reward[None], float(len(self.policy)))[0][0]

    def kernel(self) -> np.ndarray:
        """The estimate (S, A, S), which need not be a probability."""
        return np.tensordot(self.theta, self.kernels, 1)

    def best_value(self) -> float:
        return 0.0

    def value(self) -> float:
        """Minus the largest suboptimality."""
        true, rewards = self.world.mdp.transition[0], unit_rewards(self.tasks, self.reward.shape)
        lost = plan(true, rewards, np.inf)[1] - evaluate(true, rewards, plan(self.kernel(), rewards, 1.0)[0])
        return -float((lost @ self.world.mdp.start).max())
