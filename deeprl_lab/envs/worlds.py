"""Finite worlds: an MDP as an environment.

An episodic world shows (one-hot state, step h, sum of the episode's rewards), S + 2 numbers, so that policies may depend on the time and on
what was collected; a world without end shows the one-hot state, and an episode is a piece of its path.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from deeprl.extend import Actions, EnvChoice, Game, Spec, counts, in_range
from deeprl_lab.mathematics.mdp import FiniteMDP


class FiniteGame(Game):
    """One copy of a finite world.

    Args:
        limit: steps of an episode in a world without end, H in an episodic one.
    """

    def __init__(self, mdp: FiniteMDP, limit: int):
        self.mdp, self.length, self.timed = mdp, limit, mdp.horizon is not None
        self.limit = limit
        self.actions = Actions(num=mdp.num_actions)
        self.spec = Spec((mdp.states + 2 * self.timed,), torch.float32, mdp.num_actions, 0)
        self.cumulative = mdp.transition.cumsum(-1)
        self.random = np.random.default_rng()
        self.state = self.elapsed = 0
        self.total = 0.0

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.state, self.elapsed, self.total = self._draw(self.mdp.start.cumsum()), 0, 0.0
        return self._obs()

    def step(self, action):
        at = (self.elapsed,) * self.timed + (self.state, int(action))
        self.state = self._draw(self.cumulative[at])
        reward = float(self.mdp.reward[at][self.state])
        self.elapsed, self.total = self.elapsed + 1, self.total + reward
        over = self.elapsed >= self.length
        return self._obs(), reward, over and self.timed, over

    def _draw(self, cumulative: np.ndarray) -> int:
        return int(np.searchsorted(cumulative, self.random.random() * cumulative[-1], side="right"))

    def _obs(self) -> np.ndarray:
        obs = np.zeros(self.spec.obs_shape, np.float32)
        obs[self.state] = 1.0
        if self.timed:
            obs[-2:] = self.elapsed, self.total
        return obs


@dataclass(frozen=True, kw_only=True)
class FiniteWorld(EnvChoice):
    """Base of the finite worlds: a subclass has `model`, and its fields are the keys of its YAML."""

    def model(self) -> FiniteMDP:
        raise NotImplementedError

    @cached_property
    def mdp(self) -> FiniteMDP:
        return self.model()

    def build(self, evaluation: bool = False) -> Game:
        return FiniteGame(self.mdp, self.mdp.horizon or getattr(self, "max_episode_steps"))  # noqa: B009


@dataclass(frozen=True, kw_only=True)
class RiskLadder(FiniteWorld):
    """H times a choice between a safe reward of 0.4 and a risky one, 1 with probability 0.6 and else 0. The state tells the last outcome
    (1: the risky choice paid)."""

    horizon: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, horizon=1)

    def model(self) -> FiniteMDP:
        transition = np.broadcast_to(np.array([[1.0, 0.0], [0.4, 0.6]]), (2, 2, 2))
        reward = np.broadcast_to(np.array([[0.4, 0.4], [0.0, 1.0]]), (2, 2, 2))
        return FiniteMDP(transition, reward, np.array([1.0, 0.0]), self.horizon)


@dataclass(frozen=True, kw_only=True)
class RandomMDP(FiniteWorld):
    """Transitions from a Dirichlet(1), other ones in every step, rewards of 0, 1/2 or 1 for each (h, s, a)."""

    instance: int = 0
    """Seed of the world itself"""
    states: int = 5
    num_actions: int = 3
    horizon: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, states=2, num_actions=2, horizon=1)

    def model(self) -> FiniteMDP:
        random, shape = np.random.default_rng(self.instance), (self.horizon, self.states, self.num_actions)
        return FiniteMDP(
            random.dirichlet(np.ones(self.states), shape), random.integers(3, size=shape) / 2.0, np.eye(self.states)[0], self.horizon
        )


@dataclass(frozen=True, kw_only=True)
class LinearMixture(FiniteWorld):
    """P(s'|s, a) = Σ_i θ_i P_i(s'|s, a), with d known kernels and unknown weights θ in the simplex, the same in every step; rewards of 0,
    1/2 or 1 for each (h, s, a)."""

    instance: int = 0
    """Seed of the world itself"""
    d: int = 4
    states: int = 6
    num_actions: int = 3
    horizon: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, d=1, states=2, num_actions=2, horizon=1)

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Kernels (d, S, A, S), weights (d,) and rewards (H, S, A)."""
        random, pairs = np.random.default_rng(self.instance), (self.states, self.num_actions)
        kernels = random.dirichlet(np.full(self.states, 0.3), (self.d, *pairs))
        return kernels, random.dirichlet(np.ones(self.d)), random.integers(3, size=(self.horizon, *pairs)) / 2.0

    @property
    def kernels(self) -> np.ndarray:
        """The known kernels (d, S, A, S)."""
        return self.drawn[0]

    @cached_property
    def candidates(self) -> np.ndarray:
        """Eight kernels (8, S, A, S) of other weights, of which the sixth is the true one."""
        weights = np.random.default_rng(self.instance + 1).dirichlet(np.ones(self.d), 8)
        weights[5] = self.drawn[1]
        return np.tensordot(weights, self.kernels, 1)

    def model(self) -> FiniteMDP:
        kernels, theta, reward = self.drawn
        transition = np.broadcast_to(np.tensordot(theta, kernels, 1), (self.horizon, *kernels.shape[1:]))
        return FiniteMDP(transition, reward, np.eye(self.states)[0], self.horizon)


@dataclass(frozen=True, kw_only=True)
class EndlessWorld(FiniteWorld):
    """Base of the worlds without end."""

    max_episode_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, max_episode_steps=1)


@dataclass(frozen=True, kw_only=True)
class TwoStates(EndlessWorld):
    """Two states and two actions. The best policy takes action 1 in state 0 and action 0 in state 1: its gain is 8/13, its bias difference
    10/13."""

    def model(self) -> FiniteMDP:
        transition = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.1, 0.9]]])
        return FiniteMDP(transition, np.array([[0.2, 0.0], [1.0, 0.6]]), np.array([1.0, 0.0]))


@dataclass(frozen=True, kw_only=True)
class Garnet(EndlessWorld):
    """S states, A actions, each of which leads to `branches` states (all different, probabilities from a Dirichlet(1)) and to the start
    with a probability of `restart`, so that every policy has one recurrent class; rewards uniform in [0, 1]."""

    instance: int = 0
    states: int = 10
    num_actions: int = 3
    branches: int = 3
    restart: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, instance=0, states=2, num_actions=2, branches=1)
        in_range(self, restart=(0, 1), branches=(1, self.states))

    def model(self) -> FiniteMDP:
        random, shape = np.random.default_rng(self.instance), (self.states, self.num_actions)
        transition = np.zeros((*shape, self.states))
        for at in np.ndindex(*shape):
            transition[(*at, random.choice(self.states, self.branches, replace=False))] = random.dirichlet(np.ones(self.branches))
        start = np.eye(self.states)[0]
        return FiniteMDP((1 - self.restart) * transition + self.restart * start, random.uniform(size=shape), start)


@dataclass(frozen=True, kw_only=True)
class RiverSwim(EndlessWorld):
    """States in a row, against a current. Action 0 always moves left and pays 0.005 in the first state. Action 1 swims: right with 0.35
    (0.6 in the first state), stay with 0.6 (0.4 at the first state, 0.6 at the last), else left; it pays 1 in the last state."""

    states: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, states=2)

    def model(self) -> FiniteMDP:
        last = self.states - 1
        transition, reward = np.zeros((self.states, 2, self.states)), np.zeros((self.states, 2))
        for state in range(self.states):
            transition[state, 0, max(state - 1, 0)] = 1.0
            left, stay = (0.0, 0.4) if state == 0 else (0.4, 0.6) if state == last else (0.05, 0.6)
            transition[state, 1, max(state - 1, 0)] += left
            transition[state, 1, state] += stay
            transition[state, 1, min(state + 1, last)] += 1.0 - left - stay
        reward[0, 0], reward[last, 1] = 0.005, 1.0
        return FiniteMDP(transition, reward, np.eye(self.states)[0])
