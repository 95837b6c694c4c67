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

from deeprl.choice import in_range
from deeprl.replay.gather import Here, There, TransitionRule
from deeprl.replay.mirror import Mirror
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
        return SequenceWindows(self.ring, self.mirror, self.rule, self.length, size)

    def priorities(self, drawn: Batch, error: Tensor) -> None:  # type: ignore[override]  # its samples are batches
        """The priority of a sequence is the mean error of its valid rows."""
        if self.prioritized:
            valid = drawn.index >= 0
            mean = torch.where(valid, error.detach().cpu(), 0.0).sum(0) / valid.sum(0)
            self.draws.update(drawn.index[0].numpy(), mean.numpy(), self.live)


class SequenceWindows:
    """Stored rows as batches of sequences, for one batch size.

    Args:
        mirror: the copy on the device, from which rows are taken if there is one.
        length, size: T, B.
    """

    def __init__(self, ring: Ring, mirror: Mirror | None, rule: TransitionRule, length: int, size: int):
        at, device = ring.layout, rule.device
        self.rule, self.num, self.at, self.mirror, self.size, self.length = rule, at.num, at, mirror, size, length
        self.offsets = torch.arange(length + 1 + rule.restarts)[:, None]
        self.offsets_there = self.offsets if mirror is None else self.offsets.to(device)
        self.rows, frames = ring.tensors()
        self.ones = torch.ones((length, size), device=device)
        self.stage = None if device.type == "cpu" and mirror is None else Staging(device)
        memory = self.windows(self.rows, frames) if mirror is None else self.windows(mirror.rows, mirror.frames)
        self.memory = Here(memory, self.offsets.numel() * size) if mirror is None else There(memory)

    def windows(self, rows: Tensor, frames: Tensor | None) -> dict[str, Tensor]:
        """Overlapping views of a memory, of which sequences are selected row by row."""
        return {"rows": rows} | ({} if frames is None else {"frames": windows(frames, self.at.stack)})

    def __call__(self, slot: Tensor, index: Tensor, weight: np.ndarray | None) -> Batch:
        """
        Args:
            slot: (B,) where the first rows lie.
            index: (B,) the numbers of the first transitions.
            weight: (B,) float64, None for ones.
        """
        weights = [] if weight is None else [torch.from_numpy(weight).float()]
        if self.mirror is None:
            rows, obs = self.gathered(slot + self.offsets)
            real = rows[..., self.at.real] > 0
            if self.stage is not None:
                rows, obs, *weights = self.stage([rows, obs, *weights])
        else:
            assert self.stage is not None
            self.mirror.follow()
            start, *weights = self.stage([slot, *weights])
            rows, obs = self.gathered(start + self.offsets_there)
            real = self.rows[slot + self.offsets[: self.length], self.at.real] > 0
        return self.batch(rows, obs, real, index, weights)

    def gathered(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (T, B, width) and observations (T + 1, B, *obs), or a row more, from the places (T + 1, B)."""
        at, memory, place = self.at, self.memory, place.flatten()
        rows = memory.take("rows", place)
        obs = rows[:, : at.size]
        if at.image:
            obs = memory.blank(memory.take("frames", place - at.front), rows[:, at.age, None], at)
        return rows.view(-1, self.size, at.width)[: self.length], obs.reshape(-1, self.size, *self.rule.spec.obs_shape)

    def batch(self, rows: Tensor, obs: Tensor, real: Tensor, index: Tensor, weights: list[Tensor]) -> Batch:
        """
        Args:
            rows, obs: of `gathered`, on the device.
            real: (T, B) bool on the CPU, whether a row is a transition, because only the replay reads the numbers that depend on it.
            index: (B,) the numbers of the first transitions.
            weights: importance weights (B,), if there are any.
        """
        at, rule, length = self.at, self.rule, self.length
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


class Auto(Replay):
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
