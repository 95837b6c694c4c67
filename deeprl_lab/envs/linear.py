"""Linear MDPs: transitions and rewards are linear in known features, P_h(s'|s, a) = φ(s, a)·μ_h(s') and r_h(s, a) = φ(s, a)·θ_h.

Features are probability vectors, rows of μ_h are probability laws on states, and θ_h lies in [0, 1]^d: every draw is a valid MDP.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deeprl.extend import Game, counts, in_range
from deeprl_lab.mathematics.mdp import FiniteMDP

from .worlds import EndlessWorld, FiniteGame, FiniteWorld


class NoisyGame(FiniteGame):
    """A finite world whose rewards have Gaussian noise, of a standard deviation (S, A) for each pair."""

    def __init__(self, mdp: FiniteMDP, limit: int, spread: np.ndarray):
        super().__init__(mdp, limit)
        self.spread = spread

    def step(self, action):
        extra = float(self.spread[self.state, int(action)] * self.random.normal())
        obs, reward, terminated, ended = super().step(action)
        self.total += extra
        if self.timed:
            obs[-1] = self.total
        return obs, reward + extra, terminated, ended


@dataclass(frozen=True, kw_only=True)
class LinearWorld(FiniteWorld):
    """Base of both: draws from a Dirichlet distribution.

    Args:
        instance: seed of the world itself.
        d: number of features.
        concentration: of the Dirichlet laws of features and of μ; small ones are nearly deterministic.
        noise: standard deviations of rewards under the first and the second half of the features. The variance of a pair is the mean of
            their squares under φ(s, a), so that it is linear too.
    """

    instance: int = 0
    d: int = 4
    states: int = 10
    num_actions: int = 3
    concentration: float = 0.3
    noise: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, d=1, states=2, num_actions=2)
        in_range(self, concentration=(1e-3, None))
        if len(self.noise) != 2 or min(self.noise) < 0:
            raise ValueError(f"noise must be two numbers of at least 0, for both halves of the features, not {self.noise}")

    @property
    def steps(self) -> int:
        """How many kernels there are."""
        return 1

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """φ (S, A, d), μ (H, d, S) and θ (H, d)."""
        random, spread = np.random.default_rng(self.instance), self.concentration
        phi = random.dirichlet(np.full(self.d, spread), (self.states, self.num_actions))
        return phi, random.dirichlet(np.full(self.states, spread), (self.steps, self.d)), random.uniform(size=(self.steps, self.d))

    @property
    def features(self) -> np.ndarray:
        """The known φ (S, A, d)."""
        return self.drawn[0]

    @property
    def spread(self) -> np.ndarray:
        """(S, A) standard deviations of the noise of rewards."""
        return np.sqrt(self.features @ np.where(np.arange(self.d) < self.d // 2, *self.noise) ** 2)

    def model(self) -> FiniteMDP:
        phi, mu, theta = self.drawn
        kernel, reward = np.einsum("sad,hdt->hsat", phi, mu), np.einsum("sad,hd->hsa", phi, theta)
        start, horizon = np.eye(self.states)[0], getattr(self, "horizon", None)
        return FiniteMDP(kernel, reward, start, horizon) if horizon else FiniteMDP(kernel[0], reward[0], start)

    def build(self, evaluation: bool = False) -> Game:
        return NoisyGame(self.mdp, self.mdp.horizon or getattr(self, "max_episode_steps"), self.spread)  # noqa: B009


@dataclass(frozen=True, kw_only=True)
class LinearMDP(LinearWorld):
    """Episodes of H steps, each with a law of its own."""

    horizon: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, horizon=1)

    @property
    def steps(self) -> int:
        return self.horizon


@dataclass(frozen=True, kw_only=True)
class EndlessLinearMDP(LinearWorld, EndlessWorld):
    """Without end, with one law for all steps."""
