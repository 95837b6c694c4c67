"""MinAtar's games as tensor worlds beside the package's, which is given the same draws: state, reward and end of every step.

    python -m benchmarks.minatar_worlds [--games seaquest] [--episodes 1000] [--steps 100000] [--save]

Whole episodes of random actions, with the ends, the starts and the true last observations that the vector layer makes of them. And games
that go on behind their ends, with actions that each copy prefers, because random ones are over before the games become hard.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.envs.minatar import GAMES, rules
from deeprl.envs.tensor_minatar.choice import TensorMinAtar

RESULTS = Path(__file__).resolve().parent / "results" / "minatar_worlds.json"
ENDLESS = tuple(game for game in GAMES if game != "breakout")
"""Games that the package can go on playing behind their ends; the ball of Breakout leaves the board"""
LIKED = {"freeway": (1, 1, 9, 1, 1, 1)}
"""How much copies like each action, in halves, other than one: the road of Freeway is crossed by going up"""


class Given:
    """A generator of the package's games that gives uniform numbers from a list."""

    def __init__(self) -> None:
        self.numbers: list[float] = []

    def rand(self, count: int | None = None) -> Any:
        return self.numbers.pop(0) if count is None else np.array([self.numbers.pop(0) for _ in range(count)])

    def randint(self, low: int, high: int | None = None, size: int | None = None) -> Any:
        low, high = (0, low) if high is None else (low, high)
        found = np.floor(low + (high - low) * np.array([self.numbers.pop(0) for _ in range(size or 1)])).astype(int)
        return found if size else int(found[0])


class Package:
    """One game of the package, with the draws of a tensor world."""

    def __init__(self, game: str, ramping: bool, sticky: float):
        self.name, self.sticky, self.action = game, sticky, 0
        self.game = rules(game)(ramping=ramping)
        self.game.random = self.given = Given()

    def reset(self, draws: Tensor) -> np.ndarray:
        self.given.numbers, self.action = draws.tolist(), 0
        self.game.reset()
        return self.seen()

    def step(self, action: int, noise: Tensor) -> tuple[np.ndarray, float, bool]:
        sticks, *rest = noise.tolist()
        if self.name == "seaquest" and self.game.e_spawn_timer:
            rest = rest[3:]  # those of a diver
        self.given.numbers = rest
        self.action = self.action if sticks < self.sticky else action
        reward, terminal = self.game.act(self.action)
        return self.seen(), float(reward), bool(terminal)

    def seen(self) -> np.ndarray:
        found: np.ndarray = self.game.state().transpose(2, 0, 1)
        return found


def episodes(game: str, count: int, copies: int = 50, ramping: bool = True, seed: int = 0) -> dict[str, int]:
    """`count` whole episodes of random actions, side by side: steps, and those in which something differed."""
    choice = TensorMinAtar(game=game, difficulty_ramping=ramping)
    envs = choice.make(seed, num=copies)
    world, drawn = envs.world, {}  # type: ignore[attr-defined]
    begin, advance = world.begin, world.advance
    world.begin = lambda draws: drawn.update(start=draws) or begin(draws)
    world.advance = lambda state, action, noise: drawn.update(step=noise) or advance(state, action, noise)
    games, rng = [Package(game, ramping, choice.sticky) for _ in range(copies)], np.random.default_rng(seed)
    different = sum(not np.array_equal(obs, each.reset(draws)) for obs, each, draws in zip(envs.reset(), games, drawn["start"]))
    begun, running, steps = copies, np.ones(copies, bool), 0
    while running.any():
        action = rng.integers(0, 6, copies)
        after = envs.step(action)
        starts = iter(drawn["start"])  # of those that ended, in their order
        for i in range(copies):
            start = next(starts) if after.ended[i] else None
            if not running[i]:
                continue
            obs, reward, terminal = games[i].step(int(action[i]), drawn["step"][i])
            same = np.array_equal(obs, after.next_obs[i]) and (reward, terminal) == (after.reward[i], after.terminated[i])
            steps += 1
            if start is not None:
                same = same and np.array_equal(games[i].reset(start), after.obs[i])
                running[i] = begun < count
                begun += 1
            different += not same
    return {"episodes": min(begun, max(count, copies)), "steps": steps, "different": different}


def beyond(
    game: str, steps: int, copies: int = 20, ramping: bool = True, seed: int = 0, start: dict[str, tuple[str, Any]] | None = None
) -> dict[str, int]:
    """Games that go on behind their ends, for `steps` together: how many, and those in which something differed. Reward says how far they
    came.

    Args:
        start: what stands in the first states in place of what a game begins with, by its name in a world: its name in the package, and
            the value.
    """
    world = TensorMinAtar(game=game, difficulty_ramping=ramping).world()
    games, rng, generator = [Package(game, ramping, world.sticky) for _ in range(copies)], np.random.default_rng(seed), torch.Generator()
    generator.manual_seed(seed)

    def uniform(count: int) -> Tensor:
        return torch.rand(copies, count, dtype=torch.float64, generator=generator)

    draws = uniform(world.draws)
    state = world.begin(draws)
    for name, (_, value) in (start or {}).items():
        state[name] = torch.as_tensor(value).expand_as(state[name]).to(state[name].dtype).clone()
    for each, own in zip(games, draws):
        each.reset(own)
        for attribute, value in (start or {}).values():
            setattr(each.game, attribute, np.copy(value) if np.ndim(value) else value)
    liked, total, different, ticks = np.empty(0), 0.0, 0, steps // copies
    for tick in range(ticks):
        if tick % 50 == 0:
            liked = rng.dirichlet(np.array(LIKED.get(game, (1,) * 6)) / 2, copies)
        action, noise = (liked.cumsum(1) > rng.random((copies, 1))).argmax(1), uniform(world.noise)
        state, reward, terminal = world.advance(state, torch.from_numpy(action), noise)
        seen = world.observe(state).numpy()
        for i, each in enumerate(games):
            obs, theirs, ended = each.step(int(action[i]), noise[i])
            different += not (np.array_equal(obs, seen[i]) and (theirs, ended) == (float(reward[i]), bool(terminal[i])))
            each.game.terminal = False
        total += float(reward.sum())
    levels = {name: int(state[name].min()) for name in ("spawn_every", "move_every", "march") if name in state}
    return {"steps": ticks * copies, "reward": int(total), "different": different, **levels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", choices=GAMES, default=GAMES)
    parser.add_argument("--episodes", type=int, default=1000, help="of each game")
    parser.add_argument("--steps", type=int, default=100_000, help="behind the ends, with difficulty and without")
    parser.add_argument("--save", action="store_true", help=f"in {RESULTS.name}")
    options = parser.parse_args()
    found = []
    for game in options.games:
        found.append({"game": game, "of": "whole episodes", "ramping": True, **episodes(game, options.episodes)})
        print(found[-1], flush=True)
        for ramping in (True, False) if game in ENDLESS else ():
            found.append({"game": game, "of": "behind the ends", "ramping": ramping, **beyond(game, options.steps, ramping=ramping)})
            print(found[-1], flush=True)
    if options.save:
        RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")


if __name__ == "__main__":
    main()
