"""MinAtar's Breakout (Young and Tian, 2019) as a tensor world: the package's game state by state from the same start and actions.

The rules are those of the package, which is not needed here. Starts of episodes, and which actions stick, have its distribution and not its
generator. The other four games are not here yet: `env=minatar/…` has them.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.types import Spec

from .vector.spaces import Actions
from .vector.tensors import State, TensorChoice, TensorWorld

LEFT, RIGHT = 1, 3
"""Places of the moves that count here among MinAtar's six: none, left, up, right, down, fire"""
CELL = 16
"""Width of a cell in a frame, in pixels"""
SIDEWAYS, UPRIGHT, BOTH = (1, 0, 3, 2), (3, 2, 1, 0), (2, 3, 0, 1)
"""Directions after a bounce off a side, off a level surface, and off the paddle's corner. Up-left is 0, and the others follow clockwise"""


class Breakout(TensorWorld):
    """(4, 10, 10) uint8: paddle, ball, trail, bricks. A brick earns 1; the ball ends the episode behind the paddle.

    Args:
        limit: steps of an episode.
        sticky: probability that the last action is taken again.
        minimal: three actions, none, left and right, in place of six.
    """

    draws, noise = 1, 1

    def __init__(self, limit: int, sticky: float, minimal: bool):
        self.limit, self.sticky = limit, sticky
        self.moves = torch.tensor([0, LEFT, RIGHT] if minimal else range(6))
        self.sideways, self.upright, self.both = torch.tensor(SIDEWAYS), torch.tensor(UPRIGHT), torch.tensor(BOTH)
        self.actions = Actions(num=len(self.moves))
        self.spec = Spec((4, 10, 10), torch.uint8, len(self.moves), 0)

    def begin(self, draws: Tensor) -> State:
        right = draws[:, 0] >= 0.5  # the ball starts at one of the sides
        bricks = torch.zeros(len(draws), 10, 10, dtype=torch.bool, device=draws.device)
        bricks[:, 1:4] = True
        x, zero = 9 * right.long(), torch.zeros_like(right, dtype=torch.int64)
        start = {"x": x, "y": zero + 3, "direction": 2 + right.long(), "paddle": zero + 4, "before_x": x, "before_y": zero + 3}
        return {**start, "bricks": bricks, "struck": zero > 0, "action": zero}

    def advance(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        move = torch.where(noise[:, 0] < self.sticky, state["action"], self.moves[action])
        x, y, direction = state["x"], state["y"], state["direction"]
        paddle = (state["paddle"] + (move == RIGHT).long() - (move == LEFT).long()).clamp(0, 9)
        to_x, to_y = x + 1 - 2 * ((direction == 0) | (direction == 3)).long(), y - 1 + 2 * (direction >= 2).long()
        side, top = (to_x < 0) | (to_x > 9), to_y < 0
        to_x, to_y = to_x.clamp(0, 9), to_y.clamp(0, 9)
        direction = torch.where(side, self.sideways[direction], direction)
        copies = torch.arange(len(x))
        on_brick = state["bricks"][copies, to_y, to_x] & ~top
        hit = on_brick & ~state["struck"]  # a ball that has just struck one passes through the next
        low = (to_y == 9) & ~top & ~on_brick
        caught = low & (x == paddle)
        corner = low & ~caught & (to_x == paddle)
        bricks = state["bricks"].clone()
        bricks[copies, to_y, to_x] &= ~hit
        bricks[:, 1:4] |= (low & ~bricks.flatten(1).any(1))[:, None, None]
        after = {
            "x": to_x,
            "y": torch.where(hit | caught | corner, y, to_y),
            "direction": torch.where(top | hit | caught, self.upright[direction], torch.where(corner, self.both[direction], direction)),
            "paddle": paddle,
            "before_x": x,
            "before_y": y,
            "bricks": bricks,
            "struck": on_brick,
            "action": move,
        }
        return after, hit.float(), low & ~caught & ~corner

    def observe(self, state: State) -> Tensor:
        copies = torch.arange(len(state["x"]))
        seen = torch.zeros(len(copies), 4, 10, 10, dtype=torch.uint8)
        seen[copies, 0, 9, state["paddle"]] = 1
        seen[copies, 1, state["y"], state["x"]] = 1
        seen[copies, 2, state["before_y"], state["before_x"]] = 1
        seen[:, 3] = state["bricks"]
        return seen

    def frame(self, state: State) -> np.ndarray:
        image = np.zeros((10, 10, 3), np.uint8)
        for channel, shown in reversed(list(enumerate(self.observe(state)[0].numpy()))):  # the paddle on top
            image[shown != 0] = [round(255 * part) for part in colorsys.hsv_to_rgb(channel / 4, 0.75, 1.0)]
        return image.repeat(CELL, 0).repeat(CELL, 1)


@dataclass(frozen=True, kw_only=True)
class TensorMinAtar(TensorChoice):
    """
    Args:
        game: breakout.
        sticky, minimal_action_set: as in `deeprl.envs.minatar.MinAtar`.
    """

    pictures: ClassVar[bool] = True

    game: str
    sticky: float = 0.1
    minimal_action_set: bool = False
    max_episode_steps: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, game=("breakout",))
        in_range(self, sticky=(0, 1))

    @property
    def name(self) -> str:
        return f"minatar {self.game}"

    def world(self) -> TensorWorld:
        return Breakout(self.max_episode_steps, self.sticky, self.minimal_action_set)
