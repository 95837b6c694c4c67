"""Space Invaders of MinAtar: a cannon against rows of aliens. It draws nothing but what sticks."""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.envs.vector.tensors import State

from .world import FIRE, LEFT, RIGHT, MinAtarWorld, board, constants, toward

RELOAD, MARCH, FASTEST, SHOTS = 5, 12, 6, 10
"""Steps between two shots of the player, between moves of all aliens at first and with the last wave, and between their shots"""


class SpaceInvaders(MinAtarWorld):
    """Channels: cannon, aliens, the same where they go left and where they go right, own shots, theirs. An alien that is shot earns 1;
    an alien or a shot at the cannon ends the episode. Each wave marches faster than the last."""

    channels, useful = 6, (0, LEFT, RIGHT, FIRE)

    def start(self, draws: Tensor) -> State:
        empty = torch.zeros(len(draws), 10, 10, dtype=torch.bool, device=draws.device)
        values = constants(draws, x=5, direction=-1, march=MARCH, march_in=MARCH, shot_in=SHOTS, reload=0)
        return {**values, "aliens": self.wave(~empty[:, 0, 0]), "shots": empty, "bombs": empty}

    @staticmethod
    def wave(where: Tensor) -> Tensor:
        """(M, 10, 10) bool: the aliens of a new wave, of some copies."""
        line = torch.arange(10, device=where.device)
        return where[:, None, None] & (line < 4)[:, None] & ((line >= 2) & (line < 8))

    def play(self, state: State, move: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        x = (state["x"] + toward(move, LEFT, RIGHT)).clamp(0, 9)
        cannon = board(torch.full_like(x, 9), x)
        fires = (move == FIRE) & (state["reload"] == 0)
        shots = down(state["shots"] | (cannon & fires[:, None, None]), -1)
        bombs = down(state["bombs"], 1)
        hit = meet(cannon, bombs) | meet(cannon, state["aliens"])
        marches = state["march_in"] == 0
        aliens, direction, landed = self.marched(state["aliens"], state["direction"], marches)
        hit = hit | landed | (marches & meet(cannon, aliens))
        march_in = torch.where(marches, torch.minimum(aliens.flatten(1).sum(1), state["march"]), state["march_in"]) - 1
        bombing = state["shot_in"] == 0
        bombs = bombs | (self.nearest(aliens, x) & bombing[:, None, None])
        killed = aliens & shots
        aliens = aliens & ~killed
        cleared = ~aliens.flatten(1).any(1)
        after = {
            "x": x,
            "direction": direction,
            "march": state["march"] - (cleared & (state["march"] > FASTEST)).long() if self.ramping else state["march"],
            "march_in": march_in,
            "shot_in": torch.where(bombing, SHOTS, state["shot_in"]) - 1,
            "reload": (torch.where(fires, RELOAD, state["reload"]) - 1).clamp(min=0),
            "aliens": aliens | self.wave(cleared),
            "shots": shots & ~killed,
            "bombs": bombs,
        }
        return after, killed.flatten(1).sum(1), hit

    @staticmethod
    def marched(aliens: Tensor, direction: Tensor, marches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Aliens, their direction, and whether they pass the lowest row, after one of their moves where it is due: to the side, or at an
        edge down and back."""
        edge = torch.where(direction < 0, aliens[:, :, 0].any(1), aliens[:, :, 9].any(1))
        turns, left = marches & edge, marches & ~edge & (direction < 0)
        right = marches & ~edge & (direction > 0)
        landed = turns & aliens[:, 9].any(1)
        for where, shift, dim in ((turns, 1, 1), (left, -1, 2), (right, 1, 2)):
            aliens = torch.where(where[:, None, None], aliens.roll(shift, dim), aliens)
        return aliens, torch.where(turns, -direction, direction), landed

    @staticmethod
    def nearest(aliens: Tensor, x: Tensor) -> Tensor:
        """(M, 10, 10) bool: the lowest alien of the nearest column that has one; of two, that of the left."""
        line = torch.arange(10, device=x.device)
        distance = 10 * (line - x.unsqueeze(1)).abs() + line  # (M, 10)
        column = torch.where(aliens.any(1), distance, 1000).argmin(1)
        row = (torch.where(aliens, line[:, None], -1).amax(1)).gather(1, column.unsqueeze(1))
        return board(row, column.unsqueeze(1))

    def layers(self, state: State) -> list[Tensor]:
        aliens, left = state["aliens"], (state["direction"] < 0)[:, None, None]
        cannon = board(torch.full_like(state["x"], 9), state["x"])
        return [cannon, aliens, aliens & left, aliens & ~left, state["shots"], state["bombs"]]


def down(cells: Tensor, rows: int) -> Tensor:
    """(M, 10, 10) one row further, 1 down or -1 up, without those that leave the board."""
    empty = torch.zeros_like(cells[:, :1])
    return torch.cat([empty, cells[:, :-1]], 1) if rows > 0 else torch.cat([cells[:, 1:], empty], 1)


def meet(one: Tensor, other: Tensor) -> Tensor:
    """(M,) whether two (M, 10, 10) have a cell in common."""
    return (one & other).flatten(1).any(1)
