"""Duels: an episode is two trajectories of the same finite MDP, one after the other, and the only reward is which one was preferred.

Observations are those of an episodic world, (one-hot state, step t, sum of rewards), with t = 0 … 2H − 1; the second trajectory starts
at H. The last step pays 1 with probability σ(R₀ − R₁), R the hidden total rewards, and else 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from deeprl.extend import Actions, EnvChoice, Game, Spec, counts
from deeprl_lab.envs.worlds import RandomMDP
from deeprl_lab.mathematics.mdp import FiniteMDP


class DuelGame(Game):
    """One copy."""

    def __init__(self, mdp: FiniteMDP):
        self.mdp, self.length, self.limit = mdp, mdp.outcomes, 2 * mdp.outcomes
        self.actions, self.spec = Actions(num=mdp.num_actions), Spec((mdp.states + 2,), torch.float32, mdp.num_actions, 0)
        self.random = np.random.default_rng()
        self.state = self.elapsed = 0
        self.totals = np.zeros(2)

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.state, self.elapsed, self.totals = int(self.random.choice(self.mdp.states, p=self.mdp.start)), 0, np.zeros(2)
        return self._obs(0.0)

    def step(self, action):
        which, h = divmod(self.elapsed, self.length)
        at = h, self.state, int(action)
        self.state = int(self.random.choice(self.mdp.states, p=self.mdp.transition[at]))
        self.totals[which] += self.mdp.reward[at][self.state]
        self.elapsed += 1
        if self.elapsed == self.length:
            self.state = int(self.random.choice(self.mdp.states, p=self.mdp.start))
        over = self.elapsed == self.limit
        reward = float(over and self.random.random() < 1.0 / (1.0 + np.exp(self.totals[1] - self.totals[0])))
        return self._obs(reward), reward, over, over

    def _obs(self, total: float) -> np.ndarray:
        return np.array([*np.eye(self.mdp.states)[self.state], self.elapsed, total], np.float32)


@dataclass(frozen=True, kw_only=True)
class Duel(EnvChoice):
    """Duels in a `RandomMDP`."""

    instance: int = 1
    """Seed of the world itself; in 0 the best action is 0 everywhere, which ties favour"""
    states: int = 3
    num_actions: int = 2
    horizon: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, states=2, num_actions=2, horizon=1)

    @cached_property
    def compared(self) -> FiniteMDP:
        """The MDP of one trajectory; its reward depends on (h, s, a)."""
        return RandomMDP(instance=self.instance, states=self.states, num_actions=self.num_actions, horizon=self.horizon).mdp

    def build(self, evaluation: bool = False) -> Game:
        return DuelGame(self.compared)
