"""A linear MDP whose rewards change from episode to episode: r_k,h(s, a) = φ(s, a)ᵀ θ_k,h.

    θ_k = (1 − w_k) θ^(k // flip mod 2) + w_k θ^(2),     w_k = drift (1 − cos(2π k / 1000)) / 2

θ^(0) and θ^(2) are drawn once, θ^(1) = 1 − θ^(0): rewards flip between two opposites, and drift to another function and back. Without drift
every policy is equally good in the long run; with flip = 1 the best policy for the past is then the worst one for the next episode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from deeprl.extend import EnvChoice, Game, counts, in_range
from deeprl_lab.envs.linear_tabular import SimplexMDP
from deeprl_lab.envs.worlds import FiniteGame
from deeprl_lab.mathematics.mdp import FiniteMDP


class AdversarialGame(FiniteGame):
    """One copy. It counts the episodes since its last seeded reset, because rewards are a function of that number; with
    `env.reseed_every` above the number of episodes it is that of the run."""

    def __init__(self, world: Adversarial):
        super().__init__(world.process, world.horizon)
        self.world, self.episode = world, -1
        self.rewards = world.rewards(0)

    def reset(self, seed):
        self.episode = 0 if seed is not None else self.episode + 1
        self.rewards = self.world.rewards(self.episode)
        return super().reset(seed)

    def step(self, action):
        reward, before = float(self.rewards[self.elapsed, self.state, int(action)]), self.total
        obs, _, terminated, ended = super().step(action)
        self.total = before + reward
        obs[-1] = self.total
        return obs, reward, terminated, ended


@dataclass(frozen=True, kw_only=True)
class Adversarial(EnvChoice):
    """Features and kernels of a `SimplexMDP`."""

    reseed_every: int = 1_000_000
    instance: int = 0
    """Seed of the world itself"""
    d: int = 4
    states: int = 5
    num_actions: int = 3
    horizon: int = 3
    flip: int = 50
    """Episodes between changes"""
    drift: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, d=1, states=2, num_actions=2, horizon=1, flip=1)
        in_range(self, drift=(0, 1))

    @cached_property
    def simplex(self) -> SimplexMDP:
        return SimplexMDP(instance=self.instance, d=self.d, states=self.states, num_actions=self.num_actions, horizon=self.horizon)

    @cached_property
    def process(self) -> FiniteMDP:
        """The MDP without rewards."""
        return replace(self.simplex.mdp, reward=np.zeros((self.horizon, self.states, self.num_actions)))

    @cached_property
    def weights(self) -> np.ndarray:
        """θ (3, H, d)."""
        first, third = np.random.default_rng([self.instance, 1]).uniform(size=(2, self.horizon, self.d))
        return np.stack([first, 1.0 - first, third])

    def rewards(self, episode: int) -> np.ndarray:
        """r_k (H, S, A)."""
        w = self.drift * (1 - np.cos(2 * np.pi * episode / 1000)) / 2
        theta = (1 - w) * self.weights[episode // self.flip % 2] + w * self.weights[2]
        return np.einsum("sai,hi->hsa", self.simplex.features, theta)

    def build(self, evaluation: bool = False) -> Game:
        return AdversarialGame(self)
