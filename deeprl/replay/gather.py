"""Gathering: copies of windows of stored rows, and the views of these that form a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deeprl.replay.fold import fold, span, within
from deeprl.replay.ring import Layout, Ring, windows
from deeprl.staging import Staging
from deeprl.types import Batch, Spec


class Drawn(NamedTuple):
    """Copies of stored rows before any arithmetic, on the device but for `index`."""

    weight: Tensor
    """(B,)"""
    index: Tensor  # type: ignore[assignment]  # as in Batch
    """(B,), on the CPU, because only the replay reads it"""
    stored: dict[str, Tensor]
    """Tensors from which `Gather.batch` computes a batch"""
    lasting: dict[str, Tensor]
    """More of them, the same at every draw"""
    noise: dict[str, Tensor]
    """As in `Batch`"""


class _Fields(NamedTuple):
    """Fields of transitions, as views of a block of windows."""

    obs: Tensor
    """Empty for images, which have another block; `successor` too"""
    successor: Tensor
    action: Tensor
    reward: Tensor
    """(B, n), or (B,) if n is 1; `continues`, `real` and `ended` too"""
    continues: Tensor
    real: Tensor
    ended: Tensor
    probability: Tensor


class TransitionRule(NamedTuple):
    """Rule that turns stored rows into transitions."""

    spec: Spec
    """Spaces of the environments"""
    n: int
    """Largest number of steps in a transition"""
    discount: float
    """Discount factor of one step"""
    rewards: Callable[[Tensor], Tensor]
    """Raw -> learned rewards, (...) -> (...) or (C, ...)"""
    extras: frozenset[str]
    """Fields of `batch.extra`"""
    device: torch.device
    """Device of the batches"""

    @property
    def powers(self) -> Tensor:
        """(n + 1,) γ^0 ... γ^n"""
        return torch.tensor([self.discount**m for m in range(self.n + 1)], dtype=torch.float64).float().to(self.device)

    @property
    def restarts(self) -> bool:
        """Whether the bootstrap goes on after a termination, from the first observation of the next episode"""
        return "restart" in self.extras


class Windows:
    """Windows of stored rows, wherever these lie, as batches of one size. A subclass selects the windows.

    Args:
        at: layout of the rows.
    """

    def __init__(self, at: Layout, rule: TransitionRule, size: int):
        n = rule.n
        self.rule, self.at, self.n, self.size, self.device = rule, at, n, size, rule.device
        self.shape = rule.spec.obs_shape
        self.gathers_next = n > 1 or rule.restarts  # next_obs is gathered by itself, because it may lie further ahead than one row
        self.weight = torch.ones(size, device=self.device)
        self.constants = {
            "steps": torch.ones(size, dtype=torch.int64, device=self.device),
            "valid": torch.ones(size, dtype=torch.bool, device=self.device),
        }
        if n > 1:
            self.constants["powers"] = rule.powers

    def windows(self, rows: Tensor, frames: Tensor | None) -> dict[str, Tensor]:
        """Overlapping views of a ring's memory, of which a batch is selected by the places of its rows."""
        at, n = self.at, self.n
        if frames is None:
            # only the observation of the row n steps later is read, its first columns
            found = {"rows": windows(rows, n + 1, cut=at.width - at.size)}
            next_obs = windows(rows, 1, cut=at.width - at.size)
        else:
            # if it is the next observation, or if the successor is needed, the frame of t + 1 is copied with those of t
            ahead = not self.gathers_next or "successor" in self.rule.extras
            found = {"rows": windows(rows, n), "frames": windows(frames, at.stack + ahead)}
            next_obs = windows(frames, at.stack)
        return {**found, "next_obs": next_obs} if self.gathers_next else found

    def batch(self, drawn: Drawn) -> Batch:
        """The batch of a draw, a pure function of tensors."""
        stored, lasting, rule = drawn.stored, drawn.lasting, self.rule
        rows, steps = stored["rows"], lasting["steps"]
        row = self._fields(rows)
        reward, in_window = rule.rewards(row.reward), stored.get("in_window")
        continues = torch.ones_like(row.continues) if rule.restarts else row.continues
        if in_window is None:
            discount = continues * rule.discount
        else:
            reward, discount, steps = fold(reward, continues, in_window, lasting["powers"])
        ended = within(row.ended, in_window)
        obs, successor = row.obs, row.successor
        if self.at.image:
            obs, successor = self._images(stored["frames"])
        next_obs = stored["next_obs"].view(self.size, *self.shape) if self.gathers_next else successor
        extra = {}
        if "successor" in rule.extras:
            extra["successor"] = successor
        if "behavior_probability" in rule.extras:
            extra["behavior_probability"] = row.probability
        if "terminated" in rule.extras:
            extra["terminated"] = (row.continues if self.n == 1 else row.continues[:, 0]) == 0
        if rule.restarts:
            extra["restart"] = within(1.0 - row.continues, in_window)
        action = row.action if rule.spec.action_dim else row.action.long()
        return Batch(
            obs, action, reward, discount, next_obs, steps, ended, lasting["valid"], drawn.weight, drawn.index, drawn.noise, extra
        )  # fmt: skip

    def _fields(self, block: Tensor) -> _Fields:
        at, n = self.at, self.n

        def column(place: int) -> Tensor:
            return block[:, place] if n == 1 else block.as_strided((self.size, n), (block.stride(0), at.width), place)

        obs = successor = block[:, :0]
        if not at.image:
            obs, successor = (block[:, place : place + at.size].unflatten(1, self.shape) for place in (0, at.width))
        return _Fields(
            obs,
            successor,
            block[:, at.action : at.reward] if self.rule.spec.action_dim else block[:, at.action],
            column(at.reward),
            column(at.continues),
            column(at.real),
            column(at.ended),
            block[:, at.probability],
        )

    def _images(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, k * size) -> observations from the first `stack` and from the last `stack` frames, as views."""
        stack, shape = self.at.stack, self.shape
        frames = frames.view(self.size, -1, self.at.size)
        return frames[:, :stack].view(self.size, *shape), frames[:, -stack:].view(self.size, *shape)

    def _ahead(self, row: _Fields, in_window: Tensor | None) -> tuple[Tensor, Tensor]:
        """Number of rows from t to next_obs, (B,) int64: m, and 1 more where it is the first observation of the next episode, behind the
        extra row of the one that terminated."""
        steps = torch.ones_like(row.probability).long() if in_window is None else in_window.sum(1).long()
        if not self.rule.restarts:
            return steps, torch.zeros_like(steps)
        # a lost life terminates without an end, and has no extra row
        skipped = within(1.0 - row.continues, in_window) & within(row.ended, in_window)
        return steps, skipped.long()


class Gather(Windows):
    """Gathering from main memory: the buffers, and the views of them that form a batch. Operations that depend on data, such as the place
    of an observation n steps later, belong to the draw."""

    def __init__(self, ring: Ring, rule: TransitionRule, size: int):
        super().__init__(ring.layout, rule, size)
        self.stage = None if self.device.type == "cpu" else Staging(self.device)
        self.sources = self.windows(torch.from_numpy(ring.rows), None if ring.frames is None else torch.from_numpy(ring.frames))
        self.block, *others = [torch.empty(size, source.shape[1], dtype=source.dtype) for source in self.sources.values()]
        self.fields = super()._fields(self.block)
        self.age = self.block.numpy()[:, self.at.age, None]
        if self.at.image:
            self.frames = others[0]
            self.images = super()._images(self.frames)
        if self.gathers_next:
            self.next_obs = others[-1]

    def __call__(self, slot: Tensor, index: Tensor, weight: np.ndarray | None) -> Drawn:
        """
        Args:
            slot: (B,) where the rows lie.
            index: (B,) the transitions' numbers.
            weight: (B,) float64, None for ones.
        """
        torch.index_select(self.sources["rows"], 0, slot, out=self.block)
        stored = {"rows": self.block}
        if self.at.image:
            stored["frames"] = self._frames_now(slot)
        if self.n > 1:
            stored["in_window"] = span(self.fields.continues, self.fields.real)
        if self.gathers_next:
            stored["next_obs"] = self._next_obs(slot, stored.get("in_window"))
        if weight is not None:
            stored["weight"] = torch.from_numpy(weight).float()
        if self.stage is not None:
            stored = dict(zip(stored, self.stage(list(stored.values()))))
        return Drawn(stored.pop("weight", self.weight), index, stored, self.constants, {})

    def _fields(self, block: Tensor) -> _Fields:
        """As in `Windows`. The views of the buffer are made once; on another device `block` is a copy with views of its own."""
        return self.fields if block is self.block else super()._fields(block)

    def _images(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """As `_fields`."""
        return self.images if frames is self.frames else super()._images(frames)

    def _blank(self, frames: Tensor, age: np.ndarray) -> None:
        """Zero the frames before the episode's start. age: (B, 1) number of the episode's frames before frame `front`."""
        front = self.at.front
        if front and age.min() < front:
            images = frames.numpy().reshape(self.size, -1, self.at.size)
            images[front - np.arange(images.shape[1]) > age] = 0

    def _frames_now(self, slot: Tensor) -> Tensor:
        """Frames of the images at t and at t + 1."""
        torch.index_select(self.sources["frames"], 0, slot - self.at.front if self.at.front else slot, out=self.frames)
        self._blank(self.frames, self.age)
        return self.frames

    def _next_obs(self, slot: Tensor, in_window: Tensor | None) -> Tensor:
        """Observations at t + m, or after a termination the first one of the next episode, one row behind the episode's extra row.

        Args:
            in_window: (B, n) from `span`, on the CPU; None if n is 1.
        """
        steps, skipped = self._ahead(self.fields, in_window)
        torch.index_select(self.sources["next_obs"], 0, slot + steps + skipped - self.at.front, out=self.next_obs)
        if self.at.image:
            age = self.age + steps.numpy()[:, None]
            self._blank(self.next_obs, age * (1 - skipped.numpy()[:, None]))  # 0 at the start of an episode
        return self.next_obs
