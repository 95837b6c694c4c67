"""Replay of sequences: T consecutive rows of one environment, time first.

A window is T consecutive rows of the ring: the transitions of an episode, then its extra row, which holds the true last observation and is
not `valid`, then the next episode. So row t + 1 holds the successor of every valid row t, also at an episode's end, and all transitions are
sampled about equally often. Traces stop at rows that `ended`, and no target bootstraps across an end, because `next_obs` is the true last
observation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.replay.gather import TransitionRule
from deeprl.replay.mirror import Mirror, blanked
from deeprl.replay.replay import Replay
from deeprl.replay.ring import Ring, windows
from deeprl.replay.samplers import Sampler, Uniform
from deeprl.staging import Staging
from deeprl.types import Batch

LENGTH = 16
"""T where nothing says otherwise"""


class Sequences(Replay):
    """Replay whose batches have the axes (T, B).

    A sequence starts at a transition after which its environment has made at least T − 1 further steps, because all T rows are then
    written. The newest T − 1 transitions of each environment are no starts, but belong to earlier sequences. `len` is the number of starts.
    With the need "restart" these are the newest T.

    A prioritised sampler draws starts, with the mean error of the valid rows as priority of a sequence.

    `batch.index` (T, B) holds the number of each transition, −1 on other rows.

    Args:
        length: T.
        batch_size: B, sequences; an update learns from up to T · B transitions.
        n_step: must be 1, because traces replace n-step sums.
        others: see `Replay`.

    Raises:
        ValueError: as in `Replay`, or n_step is not 1, or the capacity is less than T rows for each environment.
    """

    offers = Replay.offers | {"sequences"}

    def __init__(
        self,
        *,
        capacity: int,
        batch_size: int,
        length: int = LENGTH,
        n_step: int = 1,
        sampler: Sampler = Uniform(),
        device: str = "auto",
        num: int,
        **others,
    ):
        self.length = length
        in_range(self, length=(1, None))
        if n_step != 1:
            raise ValueError(f"n_step must be 1 with sequences, not {n_step}: the backup's trace takes the place of sums over n steps")
        if capacity // num < length:
            raise ValueError(f"capacity must be at least length rows for each environment ({length} * {num}), not {capacity}")
        super().__init__(capacity=capacity, batch_size=batch_size, sampler=sampler, device=device, num=num, **others)

    @property
    def reach(self) -> int:
        return self.length + self.rule.restarts

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.length, self.batch_size)

    @property
    def unripe(self) -> int:
        return self.reach - 1

    def make_gather(self, size: int) -> SequenceWindows:
        if self.mirror is None:
            return SequenceGather(self.ring, self.rule, self.length, size)
        return MirrorSequenceGather(self.mirror, self.rule, self.length, size)

    def update_priorities(self, index: Tensor, error: Tensor) -> None:
        """Set the priorities of sequences to the mean error of their valid rows.

        Args:
            index, error: (T, B); `index` is on the CPU.
        """
        if not self.prioritized:
            return
        valid = index >= 0
        mean = torch.where(valid, error.detach().cpu(), 0.0).sum(0) / valid.sum(0)
        super().update_priorities(index[0], mean)


class SequenceWindows:
    """Stored rows as batches of sequences, for one batch size. A subclass selects the rows, wherever these lie."""

    def __init__(self, ring: Ring, rule: TransitionRule, length: int, size: int):
        at = ring.layout
        self.rule, self.num, self.at, self.size, self.length = rule, at.num, at, size, length
        self.offsets = torch.arange(length + 1 + rule.restarts)[:, None]
        self.source = torch.from_numpy(ring.rows)
        self.ones = torch.ones((length, size), device=rule.device)

    def __call__(self, slot: Tensor, index: Tensor, weight: np.ndarray | None) -> Batch:
        """
        Args:
            slot: (B,) where the first rows lie.
            index: (B,) the numbers of the first transitions.
            weight: (B,) float64, None for ones.
        """
        at, rule, length = self.at, self.rule, self.length
        rows, obs, real, *weights = self.selected(slot, [] if weight is None else [torch.from_numpy(weight).float()])
        action = rows[..., at.action : at.reward] if rule.spec.action_dim else rows[..., at.action].long()
        valid, continues, ended = rows[..., at.real] > 0, rows[..., at.continues], rows[..., at.ended] > 0
        after, terminated = obs[1 : length + 1], continues == 0
        next_obs, restart = after, valid & terminated
        if rule.restarts:  # the episode's extra row lies between
            over = (restart & ended).view(*restart.shape, *[1] * (obs.dim() - 2))
            next_obs, continues = torch.where(over, obs[2:], after), rows[..., at.real]
        earlier = real.long().cumsum(0) - 1  # number of the sequence's transitions before this row
        number = torch.where(real, index + self.num * earlier, -1)
        importance = weights[0].expand_as(self.ones) if weights else self.ones
        offered = {"successor": after, "behavior_probability": rows[..., at.probability], "terminated": terminated, "restart": restart}
        extra = {name: offered[name] for name in offered if name in rule.extras}
        reward, discount = rule.rewards(rows[..., at.reward]), continues * rule.discount
        return Batch(obs[:length], action, reward, discount, next_obs, valid.long(), ended, valid, importance, number, {}, extra)

    def selected(self, slot: Tensor, weights: list[Tensor]) -> list[Tensor]:
        """Rows (T, B, width) and observations (T + 1, B, *obs), or a row more, on the device; (T, B) bool on the CPU, whether a row is a
        transition, because only the replay reads the numbers that depend on it; then the weights."""
        raise NotImplementedError


class SequenceGather(SequenceWindows):
    """Gathering of sequences from main memory."""

    def __init__(self, ring: Ring, rule: TransitionRule, length: int, size: int):
        super().__init__(ring, rule, length, size)
        at, rows = self.at, len(self.offsets) * size
        self.block = torch.empty(rows, at.width)
        if at.image:
            self.frame_source = windows(torch.from_numpy(ring.frames), at.stack)
            self.frames = torch.empty(rows, at.stack * at.size, dtype=torch.uint8)
        self.stage = None if rule.device.type == "cpu" else Staging(rule.device)

    def selected(self, slot: Tensor, weights: list[Tensor]) -> list[Tensor]:
        place = (slot + self.offsets).flatten()
        torch.index_select(self.source, 0, place, out=self.block)
        rows = self.block.view(-1, self.size, self.at.width)[: self.length]
        moving = [rows, self._observations(place), *weights]
        there, obs, *weights = moving if self.stage is None else self.stage(moving)
        return [there, obs, rows[..., self.at.real] > 0, *weights]

    def _observations(self, place: Tensor) -> Tensor:
        """Observations of the rows at `place`, (rows, B, *obs)."""
        at, shape = self.at, self.rule.spec.obs_shape
        if not at.image:
            return self.block[:, : at.size].view(-1, self.size, *shape)
        torch.index_select(self.frame_source, 0, place - at.front, out=self.frames)
        if at.front:
            age = self.block[:, at.age, None].numpy()
            if age.min() < at.front:  # zero the frames before the episode's start
                self.frames.numpy().reshape(len(place), at.stack, at.size)[at.front - np.arange(at.stack) > age] = 0
        return self.frames.view(-1, self.size, *shape)


class MirrorSequenceGather(SequenceWindows):
    """Gathering of sequences on the device."""

    def __init__(self, mirror: Mirror, rule: TransitionRule, length: int, size: int):
        super().__init__(mirror.ring, rule, length, size)
        self.mirror, self.there = mirror, self.offsets.to(rule.device)
        self.stage = Staging(rule.device)

    def selected(self, slot: Tensor, weights: list[Tensor]) -> list[Tensor]:
        at, mirror = self.at, self.mirror
        mirror.follow()
        start, *weights = self.stage([slot, *weights])
        place = (start + self.there).flatten()
        rows = mirror.rows.index_select(0, place)
        if mirror.frames is None:
            obs = rows[:, : at.size]
        else:
            frames = windows(mirror.frames, at.stack).index_select(0, place - at.front)
            obs = blanked(frames, rows[:, at.age, None], at)
        obs, rows = obs.reshape(-1, self.size, *self.rule.spec.obs_shape), rows.view(-1, self.size, at.width)[: self.length]
        real = self.source[(slot + self.offsets[: self.length]), at.real] > 0
        return [rows, obs, real, *weights]


class Auto(Choice):
    """`Sequences` for an agent that needs sequences, else `Replay` without `length`. For an agent that needs rollouts the configuration
    itself was replaced. Run folders of before 29 November 2026 have it; it may go with the first release."""

    offers = Sequences.offers

    def __new__(  # type: ignore[misc]  # a choice between two classes
        cls,
        *,
        capacity: int,
        batch_size: int,
        length: int | None = None,
        epochs: int = 4,
        minibatches: int = 4,
        n_step: int = 1,
        sampler: Sampler = Uniform(),
        device: str = "auto",
        needs: frozenset[str] = frozenset(),
        **others,
    ) -> Replay:
        common: dict[str, Any] = {"capacity": capacity, "batch_size": batch_size, "n_step": n_step, "sampler": sampler}
        common |= {"device": device, "needs": needs, **others}
        return Sequences(length=LENGTH if length is None else length, **common) if "sequences" in needs else Replay(**common)
