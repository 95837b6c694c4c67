"""Latent MDPs with hindsight: one of M finite MDPs is drawn for an episode, hidden until its end.

An observation has S + 2 + H + M numbers: (one-hot state, h, sum of rewards, past, context). `past` (H) holds 1 + a S + s' for each step so
far, else 0, since a good policy depends on the history; `context` (M) is zero, but one-hot in the last observation of the episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from deeprl.extend import Actions, EnvChoice, Game, Spec, counts, in_range


class Contexts(NamedTuple):
    """M MDPs with the same states, actions and rewards, the same in every step."""

    transition: np.ndarray
    """(M, S, A, S)"""
    reward: np.ndarray
    """r(s, a, s'), (S, A, S)"""
    prior: np.ndarray
    """(M,) probabilities of a context"""
    horizon: int
    """H; the first state is 0"""


class LatentGame(Game):
    """One copy."""

    def __init__(self, contexts: Contexts):
        self.contexts, self.limit = contexts, contexts.horizon
        number, states, actions, _ = contexts.transition.shape
        self.actions = Actions(num=actions)
        self.spec = Spec((states + 2 + contexts.horizon + number,), torch.float32, actions, 0)
        self.random = np.random.default_rng()
        self.obs, self.state, self.context, self.elapsed = np.zeros(self.spec.obs_shape, np.float32), 0, 0, 0

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.context = int(self.random.choice(len(self.contexts.prior), p=self.contexts.prior))
        self.state = self.elapsed = 0
        self.obs = np.zeros(self.spec.obs_shape, np.float32)
        self.obs[0] = 1.0
        return self.obs.copy()

    def step(self, action):
        states = self.contexts.transition.shape[1]
        after = int(self.random.choice(states, p=self.contexts.transition[self.context, self.state, int(action)]))
        reward = float(self.contexts.reward[self.state, int(action), after])
        self.obs[:states] = np.eye(states)[after]
        self.obs[states] += 1.0
        self.obs[states + 1] += reward
        self.obs[states + 2 + self.elapsed] = 1 + int(action) * states + after
        self.state, self.elapsed = after, self.elapsed + 1
        over = self.elapsed == self.limit
        if over:
            self.obs[states + 2 + self.limit + self.context] = 1.0
        return self.obs.copy(), reward, over, over


@dataclass(frozen=True, kw_only=True)
class LatentWorld(EnvChoice):
    """Base of the latent worlds: a subclass makes the `contexts`."""

    horizon: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, horizon=1)

    @cached_property
    def contexts(self) -> Contexts:
        raise NotImplementedError

    def build(self, evaluation: bool = False) -> Game:
        return LatentGame(self.contexts)


@dataclass(frozen=True, kw_only=True)
class LatentBandit(LatentWorld):
    """Two contexts, two arms: arm m pays 1 with probability `high` in context m, else with 1 − high. The state is the last outcome. Best
    expected totals for high = 0.9: 0.5, 1.32, 2.14 for H = 1, 2, 3."""

    high: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, high=(0, 1))

    @cached_property
    def contexts(self) -> Contexts:
        pays = np.array([[self.high, 1 - self.high], [1 - self.high, self.high]])  # (M, A)
        transition = np.repeat(np.stack([1 - pays, pays], -1)[:, None], 2, 1)
        reward = np.broadcast_to(np.array([0.0, 1.0]), (2, 2, 2))
        return Contexts(transition, reward, np.full(2, 0.5), self.horizon)


@dataclass(frozen=True, kw_only=True)
class LatentRandom(LatentWorld):
    """M contexts with transitions from a Dirichlet(`noise`), or deterministic ones with noise = 0; rewards 0, 1/2 or 1 of (s, a, s')."""

    instance: int = 0
    """Seed of the world itself"""
    number: int = 2
    states: int = 3
    num_actions: int = 2
    noise: float = 1.0
    horizon: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, number=1, states=2, num_actions=2)
        in_range(self, noise=(0, None))

    @cached_property
    def contexts(self) -> Contexts:
        random, shape = np.random.default_rng(self.instance), (self.number, self.states, self.num_actions)
        reward = random.integers(3, size=(*shape[1:], self.states)) / 2.0
        if self.noise:
            transition = random.dirichlet(np.full(self.states, self.noise), shape)
        else:
            transition = np.eye(self.states)[random.integers(self.states, size=shape)]
        return Contexts(transition, reward, np.full(self.number, 1 / self.number), self.horizon)
