"""Small worlds that go on for ever, whose best average reward is known: for agents without a discount."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.choice import counts, in_range

from .toy import TabularGame, TabularMDP
from .vector.backend import Game
from .vector.choice import EnvChoice


def two_states() -> TabularMDP:
    """The best policy takes action 1 in state 0 and action 0 in state 1, and earns 8/13 a step."""
    transition = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.1, 0.9]]])
    return TabularMDP(transition, np.array([[0.2, 0.0], [1.0, 0.6]]), np.array([0.5, 0.5]), np.zeros(2, bool))


def slow_grid(size: int, stay: float) -> TabularMDP:
    """A square of cells with the actions up, down, left, right. With probability `stay` nothing moves, so that under every policy the chain
    mixes 1 / (1 − stay) times as slowly. In the last corner every action earns 1, and leads to the first corner if it moves."""
    cells = size * size
    transition, reward = np.zeros((cells, 4, cells)), np.zeros((cells, 4))
    for cell in range(cells):
        row, column = divmod(cell, size)
        for action, (down, right) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            goal = min(max(row + down, 0), size - 1) * size + min(max(column + right, 0), size - 1)
            transition[cell, action, cell] += stay
            transition[cell, action, 0 if cell == cells - 1 else goal] += 1 - stay
    reward[-1] = 1.0
    start = np.zeros(cells)
    start[0] = 1.0
    return TabularMDP(transition, reward, start, np.zeros(cells, bool))


def average_reward(mdp: TabularMDP, policy: np.ndarray) -> float:
    """η of a policy (S, A) whose chain has one stationary law."""
    chain = np.einsum("sa,sat->st", policy, mdp.transition)
    equations = np.vstack([chain.T - np.eye(len(chain)), np.ones(len(chain))])
    law = np.linalg.lstsq(equations, np.append(np.zeros(len(chain)), 1.0), rcond=None)[0]
    return float(law @ (policy * mdp.reward).sum(-1))


@dataclass(frozen=True, kw_only=True)
class TwoStateWorld(EnvChoice):
    """`two_states`, cut off by a time limit."""

    max_episode_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, max_episode_steps=1)

    def build(self, evaluation: bool = False) -> Game:
        return TabularGame(two_states(), self.max_episode_steps)


@dataclass(frozen=True, kw_only=True)
class SlowGrid(EnvChoice):
    """`slow_grid`, cut off by a time limit. The best policy earns 1 / (2 size − 1) a step."""

    size: int = 5
    stay: float = 0.5
    max_episode_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, size=2, max_episode_steps=1)
        in_range(self, stay=(0, 0.999))

    def build(self, evaluation: bool = False) -> Game:
        return TabularGame(slow_grid(self.size, self.stay), self.max_episode_steps)
