"""Freeway of MinAtar: a road of eight lanes to cross."""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.envs.vector.tensors import State

from .world import DOWN, UP, MinAtarWorld, board, constants, toward

COLUMN, REST, TIME = 4, 3, 2500
"""Where the player crosses, steps between two of its moves, and steps of an episode"""


class Freeway(MinAtarWorld):
    """Channels: player, cars, and trails of cars that move in each, each second, … each fifth of their turns. The other side earns 1, and
    gives the cars new speeds; a car sends the player back. It never becomes harder.

    Numbers of a start, and of a step in which the other side is reached: speeds and directions of the cars.
    """

    channels, useful, draws, noise = 7, (0, UP, DOWN), 16, 1 + 16

    def start(self, draws: Tensor) -> State:
        speed = self.traffic(draws)
        return {"x": torch.zeros_like(speed), "speed": speed, "wait": speed.abs(), **constants(draws, y=9, rest=REST, time=TIME)}

    @staticmethod
    def traffic(draws: Tensor) -> Tensor:
        """(n, 16) uniform numbers -> (n, 8) signed steps that a car waits between its moves."""
        return (1 + (5 * draws[:, :8]).long()) * torch.where(draws[:, 8:] < 0.5, -1, 1)

    def play(self, state: State, move: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        step = toward(move, UP, DOWN) * (state["rest"] == 0)
        y = (state["y"] + step).clamp(max=9)
        across = y == 0
        y = torch.where(across, 9, y)
        speed = torch.where(across.unsqueeze(1), self.traffic(noise), state["speed"])
        wait = torch.where(across.unsqueeze(1), speed.abs(), state["wait"])
        moves = wait == 0
        x = torch.where(moves, (state["x"] + speed.sign()) % 10, state["x"])
        passed = (state["x"] == COLUMN) | (x == COLUMN)
        run_over = (passed & (self.lanes(x) == y.unsqueeze(1))).any(1)
        after = {
            "x": x,
            "speed": speed,
            "wait": torch.where(moves, speed.abs(), wait - 1),
            "y": torch.where(run_over, 9, y),
            "rest": (torch.where(step != 0, REST, state["rest"]) - 1).clamp(min=0),
            "time": state["time"] - 1,
        }
        return after, across, after["time"] < 0

    @staticmethod
    def lanes(x: Tensor) -> Tensor:
        """(M, 8): car i is in row i + 1."""
        return torch.arange(1, 9, device=x.device).expand(x.shape)

    def layers(self, state: State) -> list[Tensor]:
        x, speed = state["x"], state["speed"]
        lanes = self.lanes(x)
        trails = [board(lanes, (x - speed.sign()) % 10, speed.abs() == each) for each in range(1, 6)]
        return [board(state["y"], torch.full_like(state["y"], COLUMN)), board(lanes, x), *trails]
