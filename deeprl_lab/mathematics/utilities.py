"""Utilities of the discounted occupancy λ(s, a) = E Σ_{t<H} γ^t 1{s_t = s, a_t = a}, and the largest one that any policy has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.extend import Choice, in_range
from deeprl_lab.mathematics.mdp import FiniteMDP


@dataclass(frozen=True)
class OccupancyUtility(Choice):
    """Base of the utilities, which are concave. `scale` is Σ λ, (1 − γ^H) / (1 − γ)."""

    def value(self, occupancy: np.ndarray, reward: np.ndarray, scale: float) -> float:
        """F(λ), of λ and expected rewards (S, A)."""
        raise NotImplementedError

    def gradient(self, occupancy: np.ndarray, reward: np.ndarray, scale: float) -> np.ndarray:
        """∇F(λ), (S, A): the pseudo-reward."""
        raise NotImplementedError


@dataclass(frozen=True)
class LinearUtility(OccupancyUtility):
    """⟨r, λ⟩: the discounted return."""

    def value(self, occupancy: np.ndarray, reward: np.ndarray, scale: float) -> float:
        return float((reward * occupancy).sum())

    def gradient(self, occupancy: np.ndarray, reward: np.ndarray, scale: float) -> np.ndarray:
        return reward


@dataclass(frozen=True)
class Entropy(OccupancyUtility):
    """− Σ_s μ ln μ, with μ = Σ_a λ / Σ λ.

    Args:
        floor: least μ in the gradient. An estimate of λ may even be negative.
    """

    floor: float = 1e-3

    def __post_init__(self):
        in_range(self, floor=(1e-12, 1))

    def value(self, occupancy: np.ndarray, reward: np.ndarray, scale: float) -> float:
        share = occupancy.sum(-1) / scale
        return float(-(share * np.log(np.maximum(share, 1e-300))).sum())

    def gradient(self, occupancy: np.ndarray, reward: np.ndarray, scale: float) -> np.ndarray:
        share = np.maximum(occupancy.sum(-1) / scale, self.floor)
        return np.broadcast_to(-(np.log(share) + 1.0)[:, None] / scale, occupancy.shape)


@dataclass(frozen=True)
class PairEntropy(OccupancyUtility):
    """− Σ λ ln λ, of pairs and unscaled; with one state the entropy of a bandit's policy."""

    floor: float = 1e-3

    def __post_init__(self):
        in_range(self, floor=(1e-12, 1))

    def value(self, occupancy: np.ndarray, reward: np.ndarray, scale: float) -> float:
        return float(-(occupancy * np.log(np.maximum(occupancy, 1e-300))).sum())

    def gradient(self, occupancy: np.ndarray, reward: np.ndarray, scale: float) -> np.ndarray:
        return -np.log(np.maximum(occupancy, self.floor)) - 1.0


def occupancy(mdp: FiniteMDP, policy: np.ndarray, discount: float, steps: int) -> np.ndarray:
    """λ (S, A) of a policy (S, A), or (H, S, A), over so many steps."""
    state, found = mdp.start.copy(), np.zeros(policy.shape[-2:])
    for t in range(steps):
        pair = state[:, None] * (policy if policy.ndim == 2 else policy[t])
        found += discount**t * pair
        state = np.einsum("sa,sat->t", pair, mdp.transition)
    return found


def best_response(mdp: FiniteMDP, reward: np.ndarray, discount: float, steps: int) -> np.ndarray:
    """The policy (H, S, A), which may depend on the time, of the largest Σ γ^t reward."""
    values, found = np.zeros(mdp.states), np.zeros((steps, mdp.states, mdp.num_actions))
    for t in reversed(range(steps)):
        q = reward + discount * mdp.transition @ values
        found[t], values = np.eye(mdp.num_actions)[q.argmax(-1)], q.max(-1)
    return found


def largest(mdp: FiniteMDP, utility: OccupancyUtility, discount: float, steps: int, rounds: int = 400) -> tuple[float, float]:
    """max F(λ) over all policies, also those that depend on the time, and by how much it may be larger: Frank and Wolfe's method with
    steps by bisection."""
    reward, scale = mdp.expected_reward(), sum(discount**t for t in range(steps))
    found = occupancy(mdp, np.full((mdp.states, mdp.num_actions), 1.0 / mdp.num_actions), discount, steps)
    gap = np.inf
    for _ in range(rounds):
        slope = utility.gradient(found, reward, scale)
        towards = occupancy(mdp, best_response(mdp, slope, discount, steps), discount, steps) - found
        gap = float((slope * towards).sum())
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            uphill = (utility.gradient(found + middle * towards, reward, scale) * towards).sum() > 0
            low, high = (middle, high) if uphill else (low, middle)
        found = found + low * towards
    return utility.value(found, reward, scale), gap
