"""Breakout of MinAtar: a ball bounces off a paddle and breaks bricks."""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.envs.vector.tensors import State

from .world import LEFT, RIGHT, MinAtarWorld, board, constants, toward


class Breakout(MinAtarWorld):
    """Channels: paddle, ball, trail, bricks. A brick earns 1; the ball ends the episode behind the paddle. It never becomes harder.

    Directions of the ball are 0 for up and left, and the others clockwise, so that d ^ 1 is d after a bounce off a side, 3 - d off a level
    surface, and d ^ 2 off a corner.
    """

    channels, useful, draws = 4, (0, LEFT, RIGHT), 1

    def start(self, draws: Tensor) -> State:
        right = draws[:, 0] >= 0.5  # the ball starts at one of the sides
        x = 9 * right.long()
        start = constants(draws, y=3, paddle=4, before_y=3, struck=False)
        return {"x": x, "direction": 2 + right.long(), "before_x": x, "bricks": self.wall(x >= 0), **start}

    @staticmethod
    def wall(where: Tensor) -> Tensor:
        """(M, 10, 10) bool: the bricks of a new wall, of some copies."""
        line = torch.arange(10, device=where.device)
        return where[:, None, None] & ((line >= 1) & (line <= 3))[:, None].expand(10, 10)

    def play(self, state: State, move: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        x, y, direction, bricks = state["x"], state["y"], state["direction"], state["bricks"]
        paddle = (state["paddle"] + toward(move, LEFT, RIGHT)).clamp(0, 9)
        to_x, to_y = x + 1 - 2 * ((direction == 0) | (direction == 3)).long(), y - 1 + 2 * (direction >= 2).long()
        side, top = (to_x < 0) | (to_x > 9), to_y < 0
        to_x, to_y = to_x.clamp(0, 9), to_y.clamp(0, 9)
        direction = torch.where(side, direction ^ 1, direction)
        aim = board(to_y, to_x)
        on_brick = (aim & bricks).flatten(1).any(1) & ~top
        hit = on_brick & ~state["struck"]  # a ball that has just struck one passes through the next
        low = (to_y == 9) & ~top & ~on_brick
        caught = low & (x == paddle)
        corner = low & ~caught & (to_x == paddle)
        bricks = bricks & ~(aim & hit[:, None, None])
        bricks = bricks | self.wall(low & ~bricks.flatten(1).any(1))
        after = {
            "x": to_x,
            "y": torch.where(hit | caught | corner, y, to_y),
            "direction": torch.where(top | hit | caught, 3 - direction, torch.where(corner, direction ^ 2, direction)),
            "paddle": paddle,
            "before_x": x,
            "before_y": y,
            "bricks": bricks,
            "struck": on_brick,
        }
        return after, hit, low & ~caught & ~corner

    def layers(self, state: State) -> list[Tensor]:
        x, paddle = state["x"], state["paddle"]
        paddles, ball, trail = board(torch.full_like(paddle, 9), paddle), board(state["y"], x), board(state["before_y"], state["before_x"])
        return [paddles, ball, trail, state["bricks"]]
