"""A square of cells without walls inside, in whose corner every trajectory begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprl.extend import counts
from deeprl_lab.envs.worlds import EndlessWorld
from deeprl_lab.mathematics.mdp import FiniteMDP

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


@dataclass(frozen=True, kw_only=True)
class OpenGrid(EndlessWorld):
    """size × size cells, four moves; one against the wall stays. The reward is 1 in the corner opposite to the start."""

    size: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, size=1)

    def model(self) -> FiniteMDP:
        states = self.size**2
        transition, reward = np.zeros((states, len(MOVES), states)), np.zeros((states, len(MOVES)))
        for state in range(states):
            for action, move in enumerate(MOVES):
                row, column = np.clip(np.add(divmod(state, self.size), move), 0, self.size - 1)
                transition[state, action, row * self.size + column] = 1.0
        reward[-1] = 1.0
        return FiniteMDP(transition, reward, np.eye(states)[0])
