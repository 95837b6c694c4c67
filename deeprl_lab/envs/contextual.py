"""A contextual MDP: kernel and rewards of an episode depend on a context c in [-1, 1]², which is shown, and whose order is arbitrary.

    P_h(s'|s, a, c) = softmax over s' of  W_{h,s,a} (1, c),     r ~ Bernoulli( 1/2 + ⟨v_{h,s,a}, c⟩/4 ),  v in [-1, 1]²

Observations: (one-hot state, h, sum of rewards, c). The first state is uniform.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from deeprl.extend import Actions, EnvChoice, Game, Spec, counts, in_range
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import softmax


class ContextualGame(Game):
    """One copy. It counts the episodes since its last seeded reset, because the order of contexts is a function of that number; with
    `env.reseed_every` above the number of episodes it is that of the run."""

    def __init__(self, world: Contextual):
        self.world, self.limit = world, world.horizon
        self.actions, self.spec = Actions(num=world.num_actions), Spec((world.states + 4,), torch.float32, world.num_actions, 0)
        self.random = np.random.default_rng()
        self.episode, self.state, self.elapsed, self.total = -1, 0, 0, 0.0
        self.mdp = world.at(np.zeros(2))
        self.context = np.zeros(2)

    def reset(self, seed):
        if seed is not None:
            self.random, self.episode = np.random.default_rng(seed), -1
        self.episode += 1
        self.context = self.world.context(self.episode)
        self.mdp = self.world.at(self.context)
        self.state, self.elapsed, self.total = int(self.random.integers(self.world.states)), 0, 0.0
        return self._obs()

    def step(self, action):
        at = self.elapsed, self.state, int(action)
        reward = float(self.random.random() < self.mdp.reward[at][0])
        self.state = int(self.random.choice(self.world.states, p=self.mdp.transition[at]))
        self.elapsed, self.total = self.elapsed + 1, self.total + reward
        over = self.elapsed == self.limit
        return self._obs(), reward, over, over

    def _obs(self) -> np.ndarray:
        return np.array([*np.eye(self.world.states)[self.state], self.elapsed, self.total, *self.context], np.float32)


@dataclass(frozen=True, kw_only=True)
class Contextual(EnvChoice):
    """Contexts come in blocks of 1, 2, 4, 8, … episodes, each near another corner of the square: at the start of a block, data of half of
    all episodes is about other contexts."""

    reseed_every: int = 1_000_000
    instance: int = 0
    """Seed of the world itself"""
    states: int = 4
    num_actions: int = 2
    horizon: int = 3
    slope: float = 2.0
    """Entries of W are uniform in [-slope, slope]"""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, states=2, num_actions=2, horizon=1)
        in_range(self, slope=(0, None))

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """W (H, S, A, S, 3) and v (H, S, A, 2)."""
        random, shape = np.random.default_rng(self.instance), (self.horizon, self.states, self.num_actions)
        return random.uniform(-self.slope, self.slope, (*shape, self.states, 3)), random.uniform(-1, 1, (*shape, 2))

    def context(self, episode: int) -> np.ndarray:
        """c (2,) of an episode, rounded as observations are."""
        block = (episode + 1).bit_length() - 1
        corner = np.array([(0.7, 0.7), (-0.7, -0.7), (-0.7, 0.7), (0.7, -0.7)][block % 4])
        jitter = np.random.default_rng([self.instance, episode]).uniform(-0.3, 0.3, 2)
        return (corner + jitter).astype(np.float32).astype(float)

    def at(self, context: np.ndarray) -> FiniteMDP:
        """The MDP of one context (2,)."""
        w, v = self.drawn
        p = softmax(w @ np.array([1.0, *context]))
        return FiniteMDP(p, 0.5 + v @ context / 4, np.full(self.states, 1 / self.states), self.horizon)

    def build(self, evaluation: bool = False) -> Game:
        return ContextualGame(self)
