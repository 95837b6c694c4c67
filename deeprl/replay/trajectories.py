"""Whole trajectories: N episodes of one policy, each from its start to its end or its planned length, learned from once, then dropped.

An episode has a number i, in the order in which episodes start, and its steps t = 0, 1, …; a batch has the axes (T, N), step and episode.
With M environments the next number goes to the environment whose episode ends first, so that which episodes are taken does not depend on
how long they are; one that ends when all numbers are given waits, and its steps until then are dropped. Once the last of the N is complete
all environments start anew. A planned end is none of the environment's: nothing is bootstrapped from it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import counts, in_range
from deeprl.replay.memory import HOST, refuse_if_too_large
from deeprl.replay.ring import require_actions
from deeprl.replay.source import Settings, Source, rows_and_memory
from deeprl.types import Batch, Rows, Spec, State

KEPT = tuple(name for name in Rows._fields)
"""Columns of a checkpoint"""


def ticks_of(lengths: np.ndarray, num: int) -> int:
    """Ticks after which episodes of these lengths (N,) are complete, each begun by the environment that is free first."""
    free = [0] * num
    for length in lengths.tolist():
        heapq.heapreplace(free, free[0] + length)
    return max(free)


class Trajectories(Source):
    """Storage of the episodes of one policy. Statistics of their rows are merged behind the update, because they must not change before.

    Args:
        episodes: N, of an update.
        horizon: T, steps after which an episode ends.
        spec, num, discount, rewards, needs, batch_device: as in `Replay`.

    Raises:
        ValueError: a value is out of range, there are more environments than episodes, or the machine, or its device, has less memory than
            these need.
    """

    offers = frozenset({"trajectories", "planned", "drawn", "successor", "behavior_probability", "terminated"})
    paced_by = ("replay.episodes", "replay.horizon")
    counted: ClassVar = {"episodes": 1, "horizon": 1}
    cuts = one_policy = True
    serves = "trajectories"

    def __init__(
        self,
        *,
        episodes: int = 10,
        horizon: int = 500,
        spec: Spec,
        num: int,
        discount: float,
        rewards: Callable[[Tensor], Tensor] = lambda raw: raw,
        needs: frozenset[str] = frozenset(),
        batch_device: str | torch.device = "cpu",
    ):
        self.episodes, self.horizon, self.num = episodes, horizon, num
        counts(self, episodes=1, horizon=1, num=1)
        self.spec, self.discount, self.rewards, self.extras, self.device = spec, discount, rewards, needs, torch.device(batch_device)
        in_range(self, discount=(0, 1))
        self.discount = float(discount)  # of 1, without a point, a mask would make whole numbers
        self.lengths = self.plan()
        key = self.paced_by[0].removeprefix("replay.")
        if num > len(self.lengths):
            raise ValueError(f"{key} makes {len(self.lengths)} episodes, fewer than the {num} environments: raise it, or lower env.num")
        self.capacity = num * ticks_of(self.lengths, num)
        self.batch_size = len(self.lengths)
        self.bytes = self.capacity * (2 * int(np.prod(spec.obs_shape)) * spec.obs_dtype.itemsize + 4 * max(spec.action_dim, 2) + 26)
        for place in dict.fromkeys([HOST, self.device]):
            refuse_if_too_large(key, getattr(self, key), self.bytes, device=place)
        self.afresh = False
        """Whether the running episodes are of before a restart, and end with the next step"""
        self.last: tuple[Tensor, Tensor] = torch.zeros(0), torch.zeros((0, *spec.obs_shape), dtype=spec.obs_dtype)
        self._begin()

    def plan(self) -> np.ndarray:
        """Planned lengths h_i (N,) of the episodes, in their order."""
        return np.full(self.episodes, self.horizon)

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        """At least, because an episode may end by itself; 0 only if none is possible."""
        ticks = -(-steps // num)
        return num * ticks // cls.longest(settings, num) or int(ticks >= -(-cls.fewest(settings) // num))

    @classmethod
    def longest(cls, settings: Settings, num: int) -> int:
        return num * settings["horizon"] * -(-settings["episodes"] // num)

    @classmethod
    def fewest(cls, settings: Settings) -> int:
        """Episodes of an update, at least."""
        return settings["episodes"]

    def room(self) -> str:
        return rows_and_memory(self.capacity, self.bytes)

    def _begin(self) -> None:
        """Number the first M episodes, of which nothing is collected."""
        self.failed: Sequence[int] = ()
        """Environments of which the next row is no step"""
        self.ticks: list[Rows] = []
        self.places: list[np.ndarray] = []
        """Of each tick (2, M): step t and number i of each environment, -1 where it waits"""
        self.running = np.arange(self.num)
        """(M,) number of the running episode, -1: none that is learned from"""
        self.elapsed = np.zeros(self.num, np.int64)
        self.started = self.num

    # Collecting

    def cut(self, ended: np.ndarray, failed: Sequence[int] = ()) -> list[int]:
        if self.afresh:
            return np.flatnonzero(~ended).tolist()
        for environment in failed:
            self.truncate_episode(environment)
        self.failed = failed
        reached = (self.running >= 0) & (self.elapsed + 1 >= self.lengths[self.running])
        again = np.zeros(self.num, bool)
        again[list(failed)] = True
        goes_on = (self.running >= 0) & (again | (~ended & ~reached))
        complete = self.started == len(self.lengths) and not goes_on.any()
        return np.flatnonzero(~ended & (reached | complete)).tolist()

    def append(self, rows: Rows) -> None:
        if self.afresh:
            self.afresh = False
            self._begin()
            return
        place = np.stack([np.where(self.running < 0, -1, self.elapsed), self.running])
        place[:, list(self.failed)] = -1
        self.ticks.append(Rows(*(np.array(column) for column in rows)))
        self.places.append(place)
        self.elapsed += 1
        for m in np.flatnonzero(rows.ended):
            self.elapsed[m] = 0
            if m in self.failed:
                continue
            self.running[m] = -1
            if self.started < len(self.lengths):
                self.running[m], self.started = self.started, self.started + 1

    def truncate_episode(self, environment: int) -> bool:
        """An episode that cannot be continued is collected again, under its number."""
        if self.running[environment] < 0:
            return False
        for place in self.places:
            place[:, environment][place[1, environment] == self.running[environment]] = -1
        self.elapsed[environment] = 0
        used = [tick for tick, place in enumerate(self.places) if (place >= 0).any()]  # others would fill the memory
        self.ticks, self.places = [self.ticks[tick] for tick in used], [self.places[tick] for tick in used]
        if self.ticks:
            self.ticks[-1].ended[environment] = True
        return bool(self.ticks)

    # Learning

    def updates(self, before: int, after: int) -> Iterator[Batch]:
        """One, when all episodes are complete."""
        if not self.places or self.started < len(self.lengths) or (self.running >= 0).any():
            return
        yield self.prepared()
        for rows in self.ticks:
            self.observe(rows)
        self.last = (
            torch.cat([torch.from_numpy(rows.reward) for rows in self.ticks]),
            torch.cat([torch.from_numpy(rows.obs) for rows in self.ticks]),
        )
        self._begin()

    def prepared(self) -> Batch:
        """The episodes as a batch with the axes (T, N), T the steps of the longest one, and with the columns that the agent prepares. Rows
        behind an episode's end are zeros and not valid."""
        place = np.stack(self.places)  # (ticks, 2, M)
        tick, environment = np.nonzero(place[:, 1] >= 0)
        t, i = place[tick, :, environment].T
        shape = (int(t.max()) + 1, len(self.lengths))

        def column(name: str) -> Tensor:
            stacked = np.stack([getattr(rows, name) for rows in self.ticks])
            found = np.zeros((*shape, *stacked.shape[2:]), stacked.dtype)
            found[t, i] = stacked[tick, environment]
            return torch.from_numpy(found).to(self.device)

        valid = torch.zeros(shape, dtype=torch.bool)
        valid[t, i] = True
        index = torch.full(shape, -1)
        index[t, i] = torch.from_numpy(tick * self.num + environment)
        valid, ones = valid.to(self.device), torch.ones(shape, device=self.device)
        planned = torch.from_numpy(np.arange(shape[0])[:, None] < self.lengths).to(self.device)
        terminated, after = column("terminated"), column("next_obs")
        offered = {
            "planned": lambda: planned,
            "drawn": lambda: column("state")[0],
            "successor": lambda: after,
            "behavior_probability": lambda: column("probability"),
            "terminated": lambda: terminated,
        }
        found = Batch(
            column("obs"), column("action"), self.rewards(column("reward")) * valid, self.discount * (valid & ~terminated), after,
            valid.long(), column("ended"), valid, ones, index, {}, {name: make() for name, make in offered.items() if name in self.extras},
        )  # fmt: skip
        with torch.no_grad():
            return found._replace(extra={**found.extra, **self.prepare(found)})

    def seen(self) -> tuple[Tensor, Tensor | None]:
        """Raw rewards (R,) of the last update's rows and of those since then, and their observations (R, *obs); None for images."""
        reward, obs = (
            torch.cat([last, *(torch.from_numpy(getattr(rows, name)) for rows in self.ticks)])
            for last, name in zip(self.last, ("reward", "obs"))
        )
        return reward, obs if obs.dtype == torch.float32 else None

    # Checkpoints: between two ticks

    def state_dict(self) -> State:
        rows = {name: torch.from_numpy(np.stack([getattr(rows, name) for rows in self.ticks])) for name in KEPT} if self.ticks else {}
        places = torch.from_numpy(np.stack(self.places)) if self.places else torch.zeros((0, 2, self.num), dtype=torch.int64)
        numbers = {name: torch.from_numpy(getattr(self, name).copy()) for name in ("running", "elapsed")}
        return {"rows": rows, "places": places, **numbers, "started": self.started, "afresh": self.afresh}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        """
        Raises:
            ValueError: the state belongs to other episodes.
        """
        rows, places = state["rows"], torch.as_tensor(state["places"])
        ticks, started, most = len(places), int(state["started"]), len(self.lengths)
        shapes = {
            "obs": self.spec.obs_shape,
            "next_obs": self.spec.obs_shape,
            "action": (self.spec.action_dim,) if self.spec.action_dim else (),
        }
        fits = (
            all(torch.as_tensor(rows[name]).shape == (ticks, self.num, *shapes.get(name, ())) for name in KEPT[:-1]) if ticks else not rows
        )
        numbers = [np.array(torch.as_tensor(state[name]), np.int64) for name in ("running", "elapsed")]
        running, elapsed = numbers
        if not fits or places.shape != (ticks, 2, self.num) or any(found.shape != (self.num,) for found in numbers):
            raise ValueError(f"the stored trajectories are of other environments than {self.num} with observations {self.spec.obs_shape}")
        inside = (running >= -1).all() and (running < most).all() and (elapsed >= 0).all() and self.num <= started <= most
        if not inside or (
            ticks and not (int(places.min()) >= -1 and int(places[:, 1].max()) < most and int(places[:, 0].max()) < self.horizon)
        ):
            raise ValueError(f"the stored trajectories are others than {most} episodes of at most {self.horizon} steps")
        if ticks:
            require_actions(torch.as_tensor(rows["action"]), self.spec.num_actions)
        columns = {name: torch.as_tensor(rows[name]).numpy() for name in KEPT} if ticks else {}
        self.ticks = [Rows(**{name: column[tick] for name, column in columns.items()}) for tick in range(ticks)]
        self.places = list(places.numpy().copy())
        self.running, self.elapsed, self.started, self.afresh = running, elapsed, started, bool(state["afresh"])

    def restart(self, step: int) -> str:
        self.begun, self.afresh = step, True
        return f"{len(self.lengths)} whole episodes, {self.paced_by[0]}"
