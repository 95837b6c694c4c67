"""Tabular MDPs, whose values are known exactly, and the chain as an environment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deeprl.choice import in_range
from deeprl.types import Spec

from .vector.actions import Actions
from .vector.backend import Game
from .vector.choice import EnvChoice


@dataclass(frozen=True, eq=False)
class TabularMDP:
    """Markov decision process of S states and A actions. Entering a terminal state ends the episode; the value of terminal states is 0.

    Args:
        transition: (S, A, S) probabilities.
        reward: (S, A), independent of the next state.
        start: (S,) probabilities of the first state.
        terminal: (S,) bool.
    """

    transition: np.ndarray
    reward: np.ndarray
    start: np.ndarray
    terminal: np.ndarray

    def __post_init__(self) -> None:
        states, actions = self.reward.shape
        shapes = (self.transition.shape, self.start.shape, self.terminal.shape)
        if shapes != ((states, actions, states), (states,), (states,)):
            raise ValueError(f"an MDP of {states} states and {actions} actions has other shapes than {shapes}")
        if not (np.allclose(self.transition.sum(-1), 1) and np.isclose(self.start.sum(), 1)):
            raise ValueError("the probabilities of an MDP must sum to one")


def backup(mdp: TabularMDP, values: np.ndarray, discount: float) -> np.ndarray:
    """r + γ Σ_s' P(s'|s,a) v(s'), where terminal states have value 0: (S,) -> (S, A)."""
    return mdp.reward + discount * mdp.transition @ np.where(mdp.terminal, 0.0, values)


def value_iteration(mdp: TabularMDP, discount: float, tolerance: float = 1e-12) -> np.ndarray:
    """Optimal action values (S, A), to `tolerance` in the largest entry."""
    q = np.zeros_like(mdp.reward)
    while True:
        new = backup(mdp, q.max(-1), discount)
        if np.abs(new - q).max() * discount <= tolerance * (1 - discount if discount < 1 else 1):
            return new
        q = new


def policy_values(mdp: TabularMDP, policy: np.ndarray, discount: float) -> np.ndarray:
    """Action values (S, A) of a policy (S, A), from the linear equations."""
    alive = ~mdp.terminal
    matrix = np.einsum("sa,sat->st", policy, mdp.transition) * alive
    values = np.linalg.solve(np.eye(len(matrix)) - discount * matrix, (policy * mdp.reward).sum(-1))
    return backup(mdp, values, discount)


def chain(length: int = 5, slip: float = 0.0) -> TabularMDP:
    """States 0 … length-1 in a row. Action 1 moves right and action 0 left; with probability `slip` the move goes in the other direction.
    The last state is terminal. The reward is 1 for action 1 in the state before it, 0 otherwise. Without slip q*(s, right) =
    γ^(length-2-s)."""
    transition = np.zeros((length, 2, length))
    for state in range(length):
        for action, move in ((0, -1), (1, 1)):
            for step, probability in ((move, 1 - slip), (-move, slip)):
                transition[state, action, min(max(state + step, 0), length - 1)] += probability
    reward = np.zeros((length, 2))
    reward[length - 2, 1] = 1.0
    start = np.zeros(length)
    start[0] = 1.0
    terminal = np.zeros(length, bool)
    terminal[-1] = True
    return TabularMDP(transition, reward, start, terminal)


def random_mdp(seed: int, states: int = 6, actions: int = 3, num_terminal: int = 1) -> TabularMDP:
    """Dirichlet transitions and normal rewards; the last `num_terminal` states are terminal, and no episode starts there."""
    random = np.random.default_rng(seed)
    terminal = np.arange(states) >= states - num_terminal
    start = np.where(terminal, 0.0, 1.0)
    transition = random.dirichlet(np.ones(states), (states, actions))
    return TabularMDP(transition, random.normal(size=(states, actions)), start / start.sum(), terminal)


class TabularGame(Game):
    """A tabular MDP with one-hot observations (S,)."""

    limit: int

    def __init__(self, mdp: TabularMDP, max_episode_steps: int):
        states, actions = mdp.reward.shape
        self.mdp, self.limit = mdp, max_episode_steps
        self.actions = Actions(num=actions)
        self.spec = Spec((states,), torch.float32, actions, 0)
        self.rows = np.eye(states, dtype=np.float32)
        self.cumulative = mdp.transition.cumsum(-1)
        self.random = np.random.default_rng()
        self.state = self.elapsed = 0

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.state, self.elapsed = self._draw(self.mdp.start.cumsum()), 0
        return self.rows[self.state]

    def step(self, action):
        reward = self.mdp.reward[self.state, action]
        self.state = self._draw(self.cumulative[self.state, action])
        self.elapsed += 1
        terminated = bool(self.mdp.terminal[self.state])
        return self.rows[self.state], float(reward), terminated, terminated or self.elapsed >= self.limit

    def _draw(self, cumulative: np.ndarray) -> int:
        return int(np.searchsorted(cumulative, self.random.random() * cumulative[-1], side="right"))


@dataclass(frozen=True, kw_only=True)
class Chain(EnvChoice):
    """`chain` as an environment that a config can name."""

    length: int = 5
    slip: float = 0.0
    max_episode_steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, length=(2, None), slip=(0, 1), max_episode_steps=(1, None))

    def build(self, evaluation: bool = False) -> Game:
        return TabularGame(chain(self.length, self.slip), self.max_episode_steps)
