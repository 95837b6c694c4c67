"""A finite world in which few steps pay, for agents that look a few steps ahead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.extend import counts, in_range
from deeprl_lab.envs.worlds import FiniteWorld
from deeprl_lab.mathematics.mdp import FiniteMDP


@dataclass(frozen=True, kw_only=True)
class SparseMDP(FiniteWorld):
    """Transitions from a Dirichlet(concentration), other ones in every step, so that most are nearly certain where it is small; rewards
    uniform in [0, 1] for a share of the (h, s, a), 0 for the others."""

    instance: int = 0
    """Seed of the world itself"""
    states: int = 6
    num_actions: int = 3
    horizon: int = 6
    concentration: float = 0.1
    share: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, states=2, num_actions=2, horizon=1)
        in_range(self, concentration=(1e-3, None), share=(0, 1))

    def model(self) -> FiniteMDP:
        random, shape = np.random.default_rng(self.instance), (self.horizon, self.states, self.num_actions)
        transition = random.dirichlet(np.full(self.states, self.concentration), shape)
        reward = np.where(random.random(shape) < self.share, random.random(shape), 0.0)
        return FiniteMDP(transition, reward, np.eye(self.states)[0], self.horizon)
