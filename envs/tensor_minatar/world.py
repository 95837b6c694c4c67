"""What MinAtar's games have in common as tensor worlds: a board of 10 x 10 cells, six moves, and actions that stick."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.envs.minatar import picture
from deeprl.envs.vector.actions import Actions
from deeprl.envs.vector.tensors import State, TensorWorld
from deeprl.types import Spec

LEFT, UP, RIGHT, DOWN, FIRE = 1, 2, 3, 4, 5
"""Places of the moves among MinAtar's six; 0 is none"""


class MinAtarWorld(TensorWorld):
    """(channels, 10, 10) uint8 of zeros and ones.

    Args:
        limit: steps of an episode.
        sticky: probability that the last action is taken again; of an episode's first action, that it is none.
        ramping: whether the game becomes harder, where it can.
        minimal: only the moves that do something, in place of six.

    Attributes:
        channels: of an observation, the player's first.
        useful: those moves.
        noise: as in `TensorWorld`, with the first for what sticks.
    """

    channels: ClassVar[int]
    useful: ClassVar[tuple[int, ...]]
    noise = 1

    def __init__(self, limit: int, sticky: float, ramping: bool = True, minimal: bool = False):
        self.limit, self.sticky, self.ramping = limit, sticky, ramping
        self.moves = torch.tensor(self.useful if minimal else range(6))
        self.actions = Actions(num=len(self.moves))
        self.spec = Spec((self.channels, 10, 10), torch.uint8, len(self.moves), 0)

    @abstractmethod
    def start(self, draws: Tensor) -> State:
        """As `begin`, without the last move."""

    @abstractmethod
    def play(self, state: State, move: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        """As `advance`, of the moves (M,) that are taken."""

    @abstractmethod
    def layers(self, state: State) -> list[Tensor]:
        """(M, 10, 10) bool of each channel."""

    def begin(self, draws: Tensor) -> State:
        return {**self.start(draws), **constants(draws, action=0)}

    def advance(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        move = torch.where(noise[:, 0] < self.sticky, state["action"], self.moves.to(action.device)[action])
        after, reward, terminal = self.play(state, move, noise[:, 1:])
        return {**after, "action": move}, reward.float(), terminal

    def observe(self, state: State) -> Tensor:
        # through int32, because compiled code turns truths into bytes one by one: `python -m benchmarks.speed.forms planes` found 48.8 µs a
        # step of PQN, and 58.3 without
        return torch.stack([layer.int().to(torch.uint8) for layer in self.layers(state)], 1)

    def frame(self, state: State) -> np.ndarray:
        return picture(self.observe(state)[0].numpy())


def constants(draws: Tensor, **values: int) -> State:
    """Each value as (n,), an integer or a truth, for n rows of draws."""
    return {name: torch.full((len(draws),), value, device=draws.device) for name, value in values.items()}


def toward(move: Tensor, less: int, more: int) -> Tensor:
    """(M,) -1 for the move `less`, 1 for `more`, 0 for others."""
    return (move == more).long() - (move == less).long()


def board(y: Tensor, x: Tensor, there: Tensor | None = None) -> Tensor:
    """(M, N) rows and columns -> (M, 10, 10) bool: the cells of those that are there, but for columns outside; (M,): of one."""
    if y.ndim == 1:
        y, x = y.unsqueeze(1), x.unsqueeze(1)
    shown = (x >= 0) & (x <= 9)
    place = torch.where(shown if there is None else shown & there, 10 * y + x, 100)
    cells = torch.zeros(len(x), 101, dtype=torch.bool, device=x.device).scatter_(1, place, True)
    return cells[:, :100].reshape(-1, 10, 10)
