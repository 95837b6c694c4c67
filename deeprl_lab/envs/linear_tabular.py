"""A finite linear MDP whose features are points of the simplex: every choice of measures and reward weights is valid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deeprl.extend import counts
from deeprl_lab.envs.worlds import FiniteWorld
from deeprl_lab.mathematics.mdp import FiniteMDP


@dataclass(frozen=True, kw_only=True)
class SimplexMDP(FiniteWorld):
    """P_h(s'|s, a) = φ(s, a)ᵀ μ_h(s'),  r_h(s, a) = φ(s, a)ᵀ θ_h.

    φ(s, a) and the d rows of μ_h are drawn from a Dirichlet(0.3), the weights θ_h are uniform in [0, 1].
    """

    instance: int = 0
    """Seed of the world itself"""
    d: int = 4
    states: int = 10
    num_actions: int = 3
    horizon: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, d=1, states=2, num_actions=2, horizon=1)

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features (S, A, d), measures (H, d, S) and reward weights (H, d)."""
        random = np.random.default_rng(self.instance)
        features = random.dirichlet(np.full(self.d, 0.3), (self.states, self.num_actions))
        measures = random.dirichlet(np.full(self.states, 0.3), (self.horizon, self.d))
        return features, measures, random.uniform(size=(self.horizon, self.d))

    @property
    def features(self) -> np.ndarray:
        """φ (S, A, d), which agents know."""
        return self.drawn[0]

    def model(self) -> FiniteMDP:
        features, measures, theta = self.drawn
        transition = np.einsum("sai,hit->hsat", features, measures)
        reward = np.einsum("sai,hi->hsa", features, theta)
        return FiniteMDP(transition, reward, np.eye(self.states)[0], self.horizon)
