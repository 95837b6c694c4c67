"""Storage of transitions in time order, one cursor per environment.

Row t of an environment holds the observation of step t, and the action, reward and flags after it; row t + 1 always holds the successor
observation. At an episode's end an extra row, which is never sampled, holds the true last observation. The row at the cursor holds an
observation alone until its step is made. A *tick* adds one transition of each environment, so that the live ticks, `first` to `last`, are
the same for all environments; `slots[tick % ticks]` holds the places of their rows.

At both ends of an environment's slots are copies of the other end, so that the rows before and after a transition are contiguous in memory.
A batch of windows is then one `index_select` over an overlapping view, without index arithmetic.

    one environment:   [front copies] [slot 0 ... slot period - 1] [back copies]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.errors import ConfigError
from deeprl.replay.layout import Layout
from deeprl.types import Rows, State


def require_actions(found: Any, count: int) -> None:
    """
    Args:
        found: stored actions, an array or a tensor.
        count: discrete actions of the environment; 0 if they are continuous.

    Raises:
        ValueError: the environment has not all of them.
    """
    if count and not ((found >= 0) & (found < count)).all():
        raise ValueError(f"the stored replay has actions outside of 0 to {count - 1}, those of the environment")


def windows(rows: Tensor, length: int, cut: int = 0) -> Tensor:
    """(rows, length * width - cut), overlapping: entry i is the rows i ... i + length - 1 without the last `cut` columns.

    Args:
        rows: (rows, width) of a ring, or its frames.
    """
    width = rows.shape[1]
    return rows.as_strided((len(rows) - length + 1, length * width - cut), (width, 1))


class Ring:
    """Ring buffer of rows in NumPy arrays. The system provides memory only where rows are written."""

    def __init__(self, layout: Layout):
        self.layout = layout
        total = layout.num * layout.stride
        # np.zeros, because torch.zeros touches every page; not np.empty, because a window may reach into rows never written and 0 * nan is
        # nan
        self.rows = np.zeros((total, layout.width), dtype=np.float32)
        self.frames = np.zeros((total, layout.size), dtype=np.uint8) if layout.image else None
        self.slots = np.zeros((layout.ticks, layout.num), dtype=np.int64)
        self.began = True
        """Whether the first rows begin episodes: not if a run has gone on without its replay"""
        self.requires_stacks = any(piece.name and piece.stack > 1 for piece in layout.pieces)
        """Whether appended observations are compared with what their parts say of themselves"""
        self.first = self.last = 0  # live ticks
        # cursors of each environment
        self._count = [0] * layout.num  # rows ever written; also the number of the row at the cursor
        self._oldest = [0] * layout.num  # number of the row of tick `first`
        self._fresh = [True] * layout.num  # the next row starts an episode
        self._base = [e * layout.stride + layout.front for e in range(layout.num)]

    @property
    def count(self) -> np.ndarray:
        """(M,) rows ever written; also the number of the row at the cursor."""
        return np.array(self._count, dtype=np.int64)

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """Rows, and frames if there are any, as tensors of the same memory."""
        return torch.from_numpy(self.rows), None if self.frames is None else torch.from_numpy(self.frames)

    def changed(self, since: list[int] | None) -> np.ndarray:
        """(R,) places of the rows from number `since` of each environment up to its cursor, and of their copies; None: of all rows."""
        start, found = self.held() if since is None else np.maximum(since, self.held()), []
        at = self.layout
        for base, first, last in zip(self._base, start.tolist(), self._count):
            slot = np.arange(first, last + 1) % at.period
            found += [slot + base, slot[slot < at.back] + base + at.period, slot[slot >= at.period - at.front] + base - at.period]
        return np.concatenate(found)

    def append(self, rows: Rows, compared: bool = False) -> None:
        """One tick of all environments, written number by number, because for small M that is faster than NumPy calls on M numbers.

        Args:
            compared: whether another ring has found the observations to be what their parts say of themselves.
        """
        at, tick, near_end = self.layout, self.last % self.layout.ticks, False
        period, front, ended = at.period, at.front, rows.ended.tolist()
        if self.last == 0 and front:
            self._take_history(rows.obs)
        if self.requires_stacks and not compared:
            self._require_stacks(rows)
        terminated, reward, probability = rows.terminated.tolist(), rows.reward.tolist(), rows.probability.tolist()
        if self.last - self.first == at.ticks:
            self._retire()
        for e, end in enumerate(ended):  # the rows below overwrite frames of earlier rows
            while self._oldest[e] < self._count[e] + end - at.ticks and self.first < self.last:
                self._retire()
        for e, end in enumerate(ended):
            slot, base = self._count[e] % period, self._base[e]
            here, there = base + slot, base + (slot + 1) % period
            row, after = self.rows[here], self.rows[there]
            if self.frames is None:
                row[: at.size] = rows.obs[e].reshape(-1)
                after[: at.size] = rows.next_obs[e].reshape(-1)
            else:
                self.frames[here] = at.frame(rows.obs[e].reshape(-1))
                self.frames[there] = at.frame(rows.next_obs[e].reshape(-1))
            row[at.action : at.reward] = rows.action[e]
            row[at.reward] = reward[e]
            row[at.continues] = not terminated[e]
            row[at.ended] = end
            row[at.probability] = probability[e]
            row[at.real] = 1.0
            if at.state < at.width:
                row[at.state :] = rows.state[e]
            after[at.action :] = 0.0
            if front:
                row[at.age] = age = 0.0 if self._fresh[e] else row.item(at.age)  # the previous tick wrote it here
                after[at.age] = min(age + 1.0, front)
            self.slots[tick, e] = here
            self._count[e] += 1 + end  # skips the extra row after the last one of an episode
            near_end |= not at.back <= slot < period - 1 - front
        self._fresh = ended
        self.last += 1
        if near_end:
            self._copy_ends()

    def _take_history(self, obs: np.ndarray) -> None:
        """Store the older frames of the first observations (M, *obs), which are zeros where an episode starts. A run that is resumed
        without its replay goes on in the middle of one."""
        front, flat = self.layout.front, obs.reshape(len(obs), -1)
        for e, frames in enumerate(np.stack([self.layout.frame(flat, back) for back in range(front, 0, -1)], 1)):
            if frames.any():
                self.frames[self._base[e] : self._base[e] + front] = frames  # type: ignore[index]  # front: frames
                self.rows[self._base[e] + front, self.layout.age] = front
                self._count[e] = self._oldest[e] = front
                self._fresh[e] = False

    def _require_stacks(self, rows: Rows) -> None:
        """
        Raises:
            ConfigError: a part says of itself that it is a stack of frames, and is another one.
        """
        own = ~(rows.ended & (rows.obs == rows.next_obs).reshape(len(rows.obs), -1).all(1))  # not those that `env.on_error=restart` ended
        wrong = self.layout.unstacked(rows.obs[own], rows.next_obs[own])
        if fresh := np.array(self._fresh).nonzero()[0].tolist():
            first = rows.obs[fresh]
            wrong = wrong or self.layout.unstacked(np.zeros_like(first), first)
        if wrong:
            raise ConfigError(
                f"part {wrong.name!r} of the observations says that it is a stack of frames, and its older ones are not those of the "
                "observation before, or not zeros where an episode starts: stack them so, or leave out what says it (Frames, frame_stack)"
            )

    def truncate_episode(self, environment: int) -> None:
        """Truncate the running episode of an environment at its newest row. The next row starts a new episode."""
        if self._fresh[environment]:
            return
        number = self._count[environment]
        while self._oldest[environment] < number - self.layout.ticks and self.first < self.last:
            self._retire()
        self.rows[self._where(environment, number - 1, number), self.layout.ended] = 1.0
        self._count[environment] = number + 1  # the row at the cursor becomes the extra row
        self._fresh[environment] = True
        self._copy_ends()

    def _retire(self) -> None:
        """Remove the oldest tick from the live ones."""
        slots, ended = self.slots[self.first % self.layout.ticks], self.layout.ended
        for e in range(self.layout.num):
            self._oldest[e] += 1 + (self.rows.item(slots.item(e), ended) > 0)
        self.first += 1

    def _copy_ends(self) -> None:
        at = self.layout
        for array in (self.rows, self.frames):
            if array is not None:
                slots = array.reshape(at.num, at.stride, -1)
                slots[:, : at.front] = slots[:, at.period : at.period + at.front]
                slots[:, at.front + at.period :] = slots[:, at.front : at.front + at.back]

    def held(self) -> np.ndarray:
        """(M,) number of the oldest stored row."""
        return np.maximum(self.count + 1 - self.layout.period, 0)

    def state_dict(self) -> State:
        """Cursors, and the row at each cursor, which is not yet complete."""
        head, fresh = self._head(), np.array(self._fresh)
        unknown = fresh[:, None]  # the first observation of the next episode is not known yet
        state = {
            "columns": self.layout.columns,
            "ticks": [self.first, self.last],
            "count": self.count,
            "oldest": np.array(self._oldest, dtype=np.int64),
            "fresh": fresh,
            "pending": np.where(unknown, np.float32(0), self.rows[head]),
            **({} if self.began else {"began": False}),
        }
        if self.frames is not None:
            state["pending_frames"] = np.where(unknown, np.uint8(0), self.frames[head])
        return state

    def written(self, since: list[int]) -> dict[str, Tensor]:
        """Rows from number `since`, or from the oldest stored one, up to the cursor, environment by environment.

        Returns:
            rows (R, width), frames (R, size) for images, start and stop (M,), the range of row numbers; all are copies.
        """
        stop = self.count
        start = np.minimum(np.maximum(np.asarray(since, dtype=np.int64), self.held()), stop)
        where = np.concatenate([self._where(e, start[e], stop[e]) for e in range(self.layout.num)])
        segment = {"rows": self.rows[where], "start": start, "stop": stop}
        if self.frames is not None:
            segment["frames"] = self.frames[where]
        return {name: torch.from_numpy(array) for name, array in segment.items()}

    def _head(self) -> np.ndarray:
        """(M,) places of the rows at the cursors."""
        return self._base + self.count % self.layout.period

    def _where(self, environment: int, start: int, stop: int) -> np.ndarray:
        return self._base[environment] + np.arange(start, stop) % self.layout.period

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        """Restore a state and the rows of all segments, oldest first.

        Raises:
            ValueError: rows are missing, or belong to another environment or another number of environments.
        """
        at = self.layout
        pending, frames = np.asarray(state["pending"]), np.asarray(state.get("pending_frames", 0))
        if pending.shape != (at.num, at.width) or frames.shape != ((at.num, at.size) if at.image else ()):
            raise ValueError(
                f"the stored replay has rows {pending.shape} and frames {frames.shape}, this one rows {(at.num, at.width)}: "
                "not the same environment"
            )
        self.first, self.last = (int(tick) for tick in state["ticks"])
        self.began = bool(state.get("began", True))
        cursors = {name: np.asarray(state[name]) for name in ("count", "oldest", "fresh")}
        for name, found in cursors.items():
            if found.shape != (at.num,) or found.dtype != (bool if name == "fresh" else np.int64):
                raise ValueError(f"the stored replay has {name} {found.dtype} {found.shape}, not one for each of {at.num} environments")
        self._count, self._oldest, self._fresh = (found.tolist() for found in cursors.values())
        count, oldest, reached = cursors["count"], cursors["oldest"], self.held()
        possible = 0 <= self.last - self.first <= at.ticks and self.first >= 0 and (reached <= oldest).all()
        if not possible or (oldest > count).any() or (count >= 1 << 62).any():
            raise ValueError(f"the stored replay has cursors that none can have: rows {self._oldest} to {self._count}")
        for segment in segments:
            self._load_segment({name: np.asarray(tensor) for name, tensor in segment.items()}, reached)
        if (reached != count).any():
            raise ValueError(f"the stored replay ends at rows {reached.tolist()} of {self._count}: a segment is missing")
        head = self._head()
        self.rows[head] = pending
        if self.frames is not None:
            self.frames[head] = frames
        for e in range(at.num):
            where = self._where(e, oldest[e], count[e])
            real = self.rows[where, at.real] > 0
            self.slots[np.arange(self.first, self.last) % at.ticks, e] = where[real]
            # the extra row marks an end, which is missing in rows that were truncated after their segment was written
            self.rows[where[:-1][real[:-1] & ~real[1:]], at.ended] = 1.0
        self._copy_ends()

    def _load_segment(self, segment: dict[str, np.ndarray], reached: np.ndarray) -> None:
        start, stop, offset = segment["start"], segment["stop"], 0
        shapes = start.shape == stop.shape == (self.layout.num,) and start.dtype == stop.dtype == np.int64
        if not shapes or not (start >= 0).all() or (start > stop).any() or (stop > self.count).any():
            raise ValueError(f"a segment of the stored replay says that it holds rows {start.tolist()} to {stop.tolist()}")
        for name, array in (("rows", self.rows), ("frames", self.frames)):
            if array is not None and segment[name].shape != (sum((stop - start).tolist()), array.shape[1]):
                raise ValueError(f"a segment of the stored replay has {name} of shape {segment[name].shape}")
        require_actions(segment["rows"][:, self.layout.action], self.layout.actions)
        flags = segment["rows"][:, [self.layout.continues, self.layout.ended, self.layout.real]]
        if not ((flags == 0) | (flags == 1)).all():
            raise ValueError("a segment of the stored replay holds a flag that is neither 0 nor 1")
        for e, (start, stop) in enumerate(zip(segment["start"].tolist(), segment["stop"].tolist())):
            skip = max(int(reached[e]) - start, 0)  # overwritten later, or in an earlier segment too
            if start > reached[e]:
                raise ValueError(f"the stored replay lacks rows {reached[e]} to {start} of environment {e}: a segment is missing")
            if stop - start > skip:
                source, where = slice(offset + skip, offset + stop - start), self._where(e, start + skip, stop)
                self.rows[where] = segment["rows"][source]
                if self.frames is not None:
                    self.frames[where] = segment["frames"][source]
                reached[e] = stop
            offset += stop - start
