"""Environments for `benchmarks.faults` that hold what is hard to continue: locks, databases, generators, threads, the random numbers of the
process, nested observations, masks, a vector of their own. After a seeded reset each is a function of the seed and the actions."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float64)


class Drift(gymnasium.Env):
    """A point drifts on a plane, and is rewarded for being near the middle. Episodes have 20 to 39 steps.

    Args:
        discrete: four moves, in place of a move (2,).
        goal: an episode terminates nearer to the middle than this.
    """

    def __init__(self, discrete: bool = False, goal: float = 0.2):
        self.observation_space: spaces.Space = spaces.Box(-5, 5, (3,), np.float32)
        self.action_space: spaces.Space = spaces.Discrete(4) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        self.discrete, self.goal = discrete, goal

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.begin(seed)
        self.place, self.left = np.clip(self.noise(), -4, 4), 20 + int(20 * abs(self.noise()[0]) % 20)
        return self.seen(), {}

    def begin(self, seed: int | None) -> None:
        """Called where an episode begins."""

    def noise(self) -> np.ndarray:
        """(2,)"""
        return self.np_random.normal(size=2)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.move(MOVES[int(action)] if self.discrete else np.asarray(action, np.float64))
        self.left -= 1
        distance = float(np.abs(self.place).sum())
        return self.seen(), -distance, distance < self.goal, self.left <= 0, {}

    def move(self, by: np.ndarray) -> None:
        self.place = np.clip(self.place + 0.3 * by + 0.1 * self.noise(), -4, 4)

    def seen(self) -> Any:
        return np.array([*self.place, self.left / 40], np.float32)


class Held(Drift):
    """What no pickle holds: a lock, a running generator and a database."""

    def begin(self, seed: int | None) -> None:
        self.lock, self.table = threading.Lock(), sqlite3.connect(":memory:")
        self.table.execute("CREATE TABLE noise (x REAL, y REAL)")
        self.drawn = self.draw()

    def draw(self) -> Iterator[np.ndarray]:
        while True:
            yield self.np_random.normal(size=2)

    def noise(self) -> np.ndarray:
        with self.lock:
            self.table.execute("INSERT INTO noise VALUES (?, ?)", next(self.drawn).tolist())
            return np.array(self.table.execute("SELECT x, y FROM noise ORDER BY rowid DESC LIMIT 1").fetchone())


class ProcessWide(Drift):
    """Draws from the generators of the whole process, which a seeded reset seeds."""

    def begin(self, seed: int | None) -> None:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002

    def noise(self) -> np.ndarray:
        return np.array([random.gauss(0, 1), np.random.normal()])  # noqa: NPY002


class Threaded(Drift):
    """A thread computes each step."""

    def move(self, by: np.ndarray) -> None:
        thread = threading.Thread(target=super().move, args=(by,))
        thread.start()
        thread.join()


class Nested(Drift):
    """Observations are a Dict with a Dict inside."""

    def __init__(self, discrete: bool = False):
        super().__init__(discrete)
        inner = spaces.Dict({"left": spaces.Box(0, 1, (1,), np.float32), "side": spaces.Discrete(2)})
        self.observation_space = spaces.Dict({"place": spaces.Box(-5, 5, (2,), np.float32), "inner": inner})

    def seen(self) -> dict[str, Any]:
        inner = {"left": np.array([self.left / 40], np.float32), "side": int(self.place[0] > 0)}
        return {"place": self.place.astype(np.float32), "inner": inner}


class Masked(Drift):
    """Moves out of the field are no valid actions."""

    def __init__(self) -> None:
        super().__init__(discrete=True)
        mask = spaces.Box(0, 1, (4,), np.int8)
        self.observation_space = spaces.Dict({"observation": self.observation_space, "action_mask": mask})

    def seen(self) -> dict[str, Any]:
        inside = np.abs(self.place + MOVES).max(1) < 4.5
        return {"observation": super().seen(), "action_mask": inside.astype(np.int8)}


class Swarm(VectorEnv):
    """A vector that is none of Gymnasium's."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, num_envs: int):
        self.num_envs, self.points = num_envs, [Drift(discrete=True) for _ in range(num_envs)]
        self.single_observation_space, self.single_action_space = self.points[0].observation_space, self.points[0].action_space
        self.observation_space, self.action_space = (
            batch_space(space, num_envs) for space in (self.single_observation_space, self.single_action_space)
        )
        self.seen = np.zeros((num_envs, 3), np.float32)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        seeds = seed if isinstance(seed, (list, tuple, np.ndarray)) else [seed if seed is None else seed + i for i in range(self.num_envs)]
        for i in np.flatnonzero((options or {}).get("reset_mask", np.ones(self.num_envs, bool))):
            self.seen[i], _ = self.points[i].reset(seed=None if seeds[i] is None else int(seeds[i]))
        return self.seen.copy(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        rows = [point.step(action) for point, action in zip(self.points, actions)]
        self.seen[:] = [row[0] for row in rows]
        return self.seen.copy(), *(np.array(column) for column in list(zip(*rows))[1:4]), {}


class ConnectFour(gymnasium.Env):
    """Connect four of PettingZoo against random moves; 1 for a win, -1 for a loss."""

    def __init__(self) -> None:
        from pettingzoo.classic import connect_four_v3

        self.game = connect_four_v3.env()
        observation, mask = spaces.Box(0, 1, (84,), np.float32), spaces.Box(0, 1, (7,), np.int8)
        self.observation_space = spaces.Dict({"observation": observation, "action_mask": mask})
        self.action_space = spaces.Discrete(7)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.game.reset()
        return self.seen(), {}

    def seen(self) -> dict[str, np.ndarray]:
        found = self.game.observe("player_0")
        return {"observation": found["observation"].reshape(-1).astype(np.float32), "action_mask": found["action_mask"].astype(np.int8)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.game.step(int(action))
        if not self.game.terminations["player_0"]:
            valid = np.flatnonzero(self.game.observe("player_1")["action_mask"])
            self.game.step(int(self.np_random.choice(valid)))
        return self.seen(), float(self.game.rewards["player_0"]), bool(self.game.terminations["player_0"]), False, {}
