"""Asterix of MinAtar: gold to collect and enemies to avoid, which cross the board in eight rows."""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.envs.vector.tensors import State

from .world import DOWN, LEFT, RIGHT, UP, MinAtarWorld, board, constants, toward

SPAWN, MOVE, RAMP = 10, 5, 100
"""Steps between two that appear, between their moves, and of a level of difficulty, as it begins"""


class Asterix(MinAtarWorld):
    """Channels: player, enemies, trails, gold. Gold earns 1; an enemy ends the episode. With time they appear and move more often.

    A step's numbers: the side from which one appears, whether it is gold, and in which of the free rows.
    """

    channels, useful, noise = 4, (0, LEFT, UP, RIGHT, DOWN), 1 + 3

    def start(self, draws: Tensor) -> State:
        timers = constants(draws, spawn_in=SPAWN, spawn_every=SPAWN, move_in=MOVE, move_every=MOVE, ramp_in=RAMP, ramps=0)
        none = torch.zeros(len(draws), 8, dtype=torch.bool, device=draws.device)
        return {**constants(draws, player_x=5, player_y=5), **timers, "x": none.long(), "there": none, "right": none, "gold": none}

    def play(self, state: State, move: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        spawns, moves = state["spawn_in"] == 0, state["move_in"] == 0
        there, x, right, gold = self.appeared(state, spawns, noise)
        player_x = (state["player_x"] + toward(move, LEFT, RIGHT)).clamp(0, 9)
        player_y = (state["player_y"] + toward(move, UP, DOWN)).clamp(1, 8)
        row = self.rows(x) == player_y.unsqueeze(1)

        met = there & row & (x == player_x.unsqueeze(1))
        reward, hit = (met & gold).sum(1), (met & ~gold).any(1)
        there = there & ~(met & gold)
        x = torch.where(there & moves.unsqueeze(1), x + 2 * right.long() - 1, x)
        there = there & (x >= 0) & (x <= 9)
        met = there & row & (x == player_x.unsqueeze(1))
        after = {
            "player_x": player_x,
            "player_y": player_y,
            "x": x,
            "there": there & ~(met & gold),
            "right": right,
            "gold": gold,
            "spawn_in": torch.where(spawns, state["spawn_every"], state["spawn_in"]) - 1,
            "move_in": torch.where(moves, state["move_every"], state["move_in"]) - 1,
            **self.harder(state),
        }
        return after, reward + (met & gold).sum(1), hit | (met & ~gold).any(1)

    @staticmethod
    def rows(x: Tensor) -> Tensor:
        """(M, 8): what crosses the board i-th is in row i + 1."""
        return torch.arange(1, 9, device=x.device).expand(x.shape)

    def appeared(self, state: State, spawns: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those that are there, columns, whether they go right and are gold, (M, 8), with one more in a free row where one is due."""
        free = ~state["there"]
        chosen = (noise[:, 2:3] * free.sum(1, keepdim=True)).long()  # among the free rows
        new = free & (free.cumsum(1) == 1 + chosen) & spawns.unsqueeze(1)
        right, gold = noise[:, :1] < 1 / 2, noise[:, 1:2] < 1 / 3
        x = torch.where(new, torch.where(right, 0, 9), state["x"])
        return state["there"] | new, x, torch.where(new, right, state["right"]), torch.where(new, gold, state["gold"])

    def harder(self, state: State) -> State:
        """The level of difficulty and its clock after a step."""
        names = ("spawn_every", "move_every", "ramp_in", "ramps")
        if not self.ramping:
            return {name: state[name] for name in names}
        spawn, move, ramp_in, ramps = (state[name] for name in names)
        able = (spawn > 1) | (move > 1)
        due = able & (ramp_in < 0)
        faster = due & (move > 1) & (ramps % 2 == 1)  # every second level
        values = spawn - (due & (spawn > 1)).long(), move - faster.long(), torch.where(due, RAMP, ramp_in - able.long()), ramps + due.long()
        return dict(zip(names, values))

    def layers(self, state: State) -> list[Tensor]:
        x, there, gold = state["x"], state["there"], state["gold"]
        rows = self.rows(x)
        trails = board(rows, x + 1 - 2 * state["right"].long(), there)
        return [board(state["player_y"], state["player_x"]), board(rows, x, there & ~gold), trails, board(rows, x, there & gold)]
