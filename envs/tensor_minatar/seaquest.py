"""Seaquest of MinAtar: divers to rescue under water, with enemies, torpedoes and little oxygen."""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.envs.vector.tensors import State

from .world import DOWN, FIRE, LEFT, RIGHT, UP, MinAtarWorld, board, constants, toward

OXYGEN, CREW, RELOAD = 200, 6, 5
"""A full tank, divers that the submarine holds, steps between its shots"""
SPAWN, DIVER, MOVE, TORPEDO = 20, 30, 5, 10
"""Steps between enemies as it begins, between divers, until either moves, and between torpedoes of an enemy submarine, less one"""
SHOTS, DIVERS, ENEMIES = 2, 2, 30
"""As many as there can be at once. Shots cross the board in 9 steps and divers in 59, enemies in 29 when one comes in each step"""


class Seaquest(MinAtarWorld):
    """Channels: bow, stern, own shots, trails, torpedoes, fish, enemy submarines, oxygen, rescued divers, divers.

    An enemy that is shot earns 1; surfacing with six divers earns the oxygen that is left, up to 10. Enemies, torpedoes, a lack of oxygen
    and surfacing without a diver end the episode. Enemies come and move more often with each surfacing, which costs a diver more than it
    should when there are six: the count is -1 after it, as the package has it.

    Shots and divers stand in the order in which they came. Among enemies in one cell, the one that came first has the shortest wait.

    A step's numbers: an enemy's side, whether it is a submarine, its row; a diver's side and row.
    """

    channels, useful, noise = 10, (0, LEFT, UP, RIGHT, DOWN, FIRE), 1 + 5

    def start(self, draws: Tensor) -> State:
        def none(*shape: int) -> Tensor:
            return torch.zeros(len(draws), *shape, dtype=torch.bool, device=draws.device)

        swimmers = {
            f"{name}_{key}": none(count) if key in ("right", "there", "armed") else none(count).long()
            for name, count, keys in (("shot", SHOTS, ""), ("diver", DIVERS, "wait"), ("enemy", ENEMIES, "wait armed reload"))
            for key in ("x", "y", "right", "there", *keys.split())
        }
        submarine = constants(draws, x=5, y=0, right=False, reload=0, oxygen=OXYGEN, crew=0, surfaced=True)
        timers = constants(draws, spawn_in=SPAWN, spawn_every=SPAWN, move_every=MOVE, diver_in=DIVER, ramps=0)
        return {**submarine, **timers, **swimmers, "torpedoes": none(2, 10, 10)}

    def play(self, state: State, move: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        state = {**state}  # its entries are replaced one after the other
        self.appear(state, noise)
        fires = (move == FIRE) & (state["reload"] == 0)
        push(state, "shot", fires, x=state["x"], y=state["y"], right=state["right"])
        state["x"] = (state["x"] + toward(move, LEFT, RIGHT)).clamp(0, 9)
        state["y"] = (state["y"] + toward(move, UP, DOWN)).clamp(0, 8)
        state["right"] = (state["right"] & (move != LEFT)) | (move == RIGHT)
        reward = self.shoot(state)
        self.rescue(state)
        killed, hit = self.attack(state)
        state["reload"] = (torch.where(fires, RELOAD, state["reload"]) - 1).clamp(min=0)
        earned, drowned = self.breathe(state)
        return state, reward + killed + earned, hit | drowned

    @staticmethod
    def appear(state: State, noise: Tensor) -> None:
        """An enemy, unless others in its row come from the other side, and a diver, where they are due."""
        spawns, dives = state["spawn_in"] == 0, state["diver_in"] == 0
        right, armed, y = noise[:, 0] < 1 / 2, noise[:, 1] < 1 / 3, 1 + (8 * noise[:, 2]).long()
        there = state["enemy_there"]
        against = (there & (state["enemy_y"] == y.unsqueeze(1)) & (state["enemy_right"] != right.unsqueeze(1))).any(1)
        new = ~there & ((~there).cumsum(1) == 1) & (spawns & ~against).unsqueeze(1)  # (M, ENEMIES): at the first free place
        values = {"x": torch.where(right, 0, 9), "y": y, "right": right, "wait": state["move_every"], "armed": armed}
        for key, value in {**values, "reload": torch.full_like(y, TORPEDO)}.items():
            state[f"enemy_{key}"] = torch.where(new, value.unsqueeze(1), state[f"enemy_{key}"])
        state["enemy_there"] = there | new

        right, y = noise[:, 3] < 1 / 2, 1 + (8 * noise[:, 4]).long()
        push(state, "diver", dives, x=torch.where(right, 0, 9), y=y, right=right, wait=torch.full_like(y, MOVE))
        state["spawn_in"] = (torch.where(spawns, state["spawn_every"], state["spawn_in"]) - 1).clamp(min=0)
        state["diver_in"] = (torch.where(dives, DIVER, state["diver_in"]) - 1).clamp(min=0)

    @staticmethod
    def shoot(state: State) -> Tensor:
        """The submarine's shots move, the newest first. Each takes one enemy of its cell, fish before submarines: how many, (M,)."""
        state["shot_x"] = state["shot_x"] + 2 * state["shot_right"].long() - 1
        flying = state["shot_there"] & (state["shot_x"] >= 0) & (state["shot_x"] <= 9)
        order = state["enemy_wait"] + 100 * state["enemy_armed"].long()
        places = torch.arange(ENEMIES, device=order.device)
        left, killed = [], torch.zeros_like(state["x"])
        for shot in reversed(range(SHOTS)):
            same = (state["enemy_x"] == state["shot_x"][:, shot, None]) & (state["enemy_y"] == state["shot_y"][:, shot, None])
            aim = state["enemy_there"] & same & flying[:, shot, None]
            hit = aim & (places == torch.where(aim, order, 1000).argmin(1, keepdim=True))
            state["enemy_there"] = state["enemy_there"] & ~hit
            killed = killed + hit.sum(1)
            left.append(flying[:, shot] & ~hit.any(1))
        state["shot_there"] = torch.stack(left[::-1], 1)
        return killed

    @staticmethod
    def rescue(state: State) -> None:
        """Divers move, the newest first, and come on board while there is room."""
        xs, waits, theres = [], [], []
        for diver in reversed(range(DIVERS)):
            x, y, wait, there = (state[f"diver_{key}"][:, diver] for key in ("x", "y", "wait", "there"))
            near = there & (y == state["y"])
            first = near & (x == state["x"]) & (state["crew"] < CREW)
            moves = there & ~first & (wait == 0)
            x = torch.where(moves, x + 2 * state["diver_right"][:, diver].long() - 1, x)
            aboard = first | (moves & near & (x == state["x"]) & (state["crew"] < CREW))
            state["crew"] = state["crew"] + aboard.long()
            xs.append(x)
            waits.append(torch.where(moves, MOVE, torch.where(there, wait - 1, 0)))
            theres.append(there & ~aboard & (x >= 0) & (x <= 9))
        for key, values in (("x", xs), ("wait", waits), ("there", theres)):
            state[f"diver_{key}"] = torch.stack(values[::-1], 1)

    @staticmethod
    def attack(state: State) -> tuple[Tensor, Tensor]:
        """Enemies move, and torpedoes: how many enemies met a shot, and whether something met the submarine, (M,)."""
        there, x, y, right = (state[f"enemy_{key}"] for key in ("there", "x", "y", "right"))
        level = there & (y == state["y"].unsqueeze(1))
        hit = (level & (x == state["x"].unsqueeze(1))).any(1)
        moves = there & (state["enemy_wait"] == 0)
        x = torch.where(moves, x + 2 * right.long() - 1, x)
        hit = hit | (level & (x == state["x"].unsqueeze(1))).any(1)

        # at most one enemy comes into a cell in one step, and takes the oldest shot that is there
        near = (x[:, :, None] == state["shot_x"][:, None]) & (y[:, :, None] == state["shot_y"][:, None])
        meets = near & (moves & ~(level & (x == state["x"].unsqueeze(1))))[:, :, None] & state["shot_there"][:, None]
        meets = meets & (meets.long().cumsum(2) == 1)  # (M, ENEMIES, SHOTS)
        killed = meets.any(2)
        state["shot_there"] = state["shot_there"] & ~meets.any(1)

        fires = there & state["enemy_armed"] & (state["enemy_reload"] == 0)  # those that are killed too
        hit = hit | launched(state, board(y, x, fires & ~right), board(y, x, fires & right))
        wait = torch.where(moves, state["move_every"].unsqueeze(1), state["enemy_wait"] - 1)
        state["enemy_x"], state["enemy_wait"] = x, torch.where(there, wait, 0)
        state["enemy_reload"] = torch.where(fires, TORPEDO, torch.where(there, state["enemy_reload"] - 1, 0))
        state["enemy_there"] = there & ~killed & (x >= 0) & (x <= 9)
        return killed.sum(1), hit

    def breathe(self, state: State) -> tuple[Tensor, Tensor]:
        """Oxygen, and what surfacing does: the reward, and whether the episode ends, (M,)."""
        oxygen, crew = state["oxygen"], state["crew"]
        under = state["y"] > 0
        arrives = ~under & ~state["surfaced"]
        ends, saved = (oxygen <= 0) | (arrives & (crew == 0)), arrives & (crew != 0)
        whole = saved & (crew == CREW)
        state["oxygen"] = torch.where(saved, OXYGEN, oxygen - under.long())
        state["crew"] = torch.where(whole, 0, crew) - saved.long()
        state["surfaced"] = ~under & (state["surfaced"] | saved)
        if self.ramping:
            spawn, move, ramps = state["spawn_every"], state["move_every"], state["ramps"]
            harder = saved & ((spawn > 1) | (move > 2))
            state["move_every"] = move - (harder & (move > 2) & (ramps % 2 == 1)).long()
            state["spawn_every"] = spawn - (harder & (spawn > 1)).long()
            state["ramps"] = ramps + harder.long()
        return torch.where(whole, oxygen * 10 // OXYGEN, 0), ends

    def layers(self, state: State) -> list[Tensor]:
        line = torch.arange(10, device=state["x"].device)
        lowest = (line == 9)[:, None]  # (10, 1)
        tank = line < (state["oxygen"].clamp(min=0) * 10 // OXYGEN)[:, None]  # (M, 10)
        crew = (line >= 9 - state["crew"][:, None]) & (line < 9)
        gauges = [gauge[:, None] & lowest for gauge in (tank, crew)]
        armed = state["enemy_armed"]
        bow, stern = board(state["y"], state["x"]), board(state["y"], behind(state))
        enemies = [board(state["enemy_y"], state["enemy_x"], state["enemy_there"] & kind) for kind in (~armed, armed)]
        shots, divers = (board(state[f"{name}_y"], state[f"{name}_x"], state[f"{name}_there"]) for name in ("shot", "diver"))
        trails = [board(state[f"{name}_y"], behind(state, f"{name}_"), state[f"{name}_there"]) for name in ("enemy", "diver")]
        return [bow, stern, shots, trails[0] | trails[1], state["torpedoes"].any(1), *enemies, *gauges, divers]


def behind(state: State, kind: str = "") -> Tensor:
    """Columns of the cells that a kind of swimmer has left; without one, of the submarine's stern."""
    return state[f"{kind}x"] + 1 - 2 * state[f"{kind}right"].long()


def push(state: State, name: str, where: Tensor, **values: Tensor) -> None:
    """One more of a kind, behind the others of which the oldest has gone."""
    for key, value in {**values, "there": torch.ones_like(where)}.items():
        before = state[f"{name}_{key}"]
        state[f"{name}_{key}"] = torch.where(where.unsqueeze(1), torch.cat([before[:, 1:], value.unsqueeze(1)], 1), before)


def launched(state: State, left: Tensor, right: Tensor) -> Tensor:
    """Torpedoes (M, 10, 10) are added, and all of them move: whether one meets the submarine, before or after its move, (M,)."""
    submarine = board(state["y"], state["x"]).unsqueeze(1)
    before = state["torpedoes"] | torch.stack([left, right], 1)  # (M, 2, 10, 10)
    out = torch.zeros_like(left[:, :, :1])
    after = torch.stack([torch.cat([before[:, 0, :, 1:], out], 2), torch.cat([out, before[:, 1, :, :-1]], 2)], 1)
    state["torpedoes"] = after
    return ((before | after) & submarine).flatten(1).any(1)
