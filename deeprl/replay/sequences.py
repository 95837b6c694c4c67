"""Replay of sequences: T consecutive rows of one environment, time first.

A window is T consecutive rows of the ring: the transitions of an episode, then its extra row, which holds the true last observation and is
not `valid`, then the next episode. So row t + 1 holds the successor of every valid row t, also at an episode's end, and all transitions are
sampled about equally often. Traces stop at rows that `ended`, and no target bootstraps across an end, because `next_obs` is the true last
observation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from deeprl.choice import Group, in_range, one_of
from deeprl.replay.fold import fold, span
from deeprl.replay.gather import DeviceWindows, Edit, HostWindows, TransitionRule
from deeprl.replay.mirror import DeviceMirror
from deeprl.replay.replay import Replay
from deeprl.replay.ring import Ring, windows
from deeprl.system.staging import Staging
from deeprl.types import Batch

LENGTH = 16
"""T where nothing says otherwise"""


@dataclass(frozen=True, kw_only=True)
class Recurrence(Group):
    """How the state of an agent's core starts in a sequence.

    Args:
        burn_in: T', rows before the others that only move the state.
        start: the state before the first row: "stored", as it was when the row was collected, or "zero".
        state_size: S, numbers of a state.
    """

    burn_in: int = 0
    start: str = "stored"
    state_size: int = 0

    def __post_init__(self):
        in_range(self, burn_in=(0, None))
        one_of(self, start=("stored", "zero"))


class Sequences(Replay):
    """Replay whose batches have the axes (T, B).

    A sequence has T' rows of burn-in (0 without a core), then T rows. It starts at a transition after which its environment has made at
    least T' + T − 1 further steps, because all of its rows are then written. The newest T' + T − 1 transitions of each environment are no
    starts, but belong to earlier sequences; with the need "restart", which a core refuses, these are the newest T. `len` is the number of
    starts.

    A prioritised sampler draws starts. The priority of a sequence is η max |δ| + (1 − η) mean |δ| over its valid rows (Kapturowski et al.,
    2019, with η = 0.9).

    `batch.index` (T, B) holds the number of each transition, −1 on other rows.

    With the need "state" a sequence starts with a state of the agent's core.

    Args:
        length: T.
        batch_size: B, sequences; an update learns from up to T · B transitions.
        n_step: n of sums within a sequence, where the backup has no trace. The last n − 1 rows of a sequence have shorter sums.
        mix: η.
        recurrence: how the state of a core starts.
        others: see `Replay`.

    Raises:
        ValueError: as in `Replay`, or n_step is not 1 beside a trace, or the capacity is less than T' + T rows for each environment, or
            there is a burn-in without a core.
    """

    argument_groups: ClassVar = {**Replay.argument_groups, "recurrence": Recurrence}
    counted: ClassVar = {"length": 1, "burn_in": 0}
    offers = Replay.offers | {"sequences", "state"}
    hands_on: ClassVar = Replay

    def __init__(
        self,
        *,
        capacity: int,
        length: int = LENGTH,
        n_step: int = 1,
        mix: float = 0.0,
        recurrence: Recurrence = Recurrence(),
        num: int,
        needs: frozenset[str] = frozenset(),
        **others,
    ):
        self.length, self.mix, self.recurrence, self.burn_in = length, mix, recurrence, recurrence.burn_in
        burn_in = self.burn_in
        in_range(self, length=(1, None), mix=(0, 1))
        if n_step != 1 and needs & {"sequences", "restart"}:
            raise ValueError(f"n_step must be 1 with sequences, not {n_step}: the backup's trace takes the place of sums over n steps")
        if burn_in and "state" not in needs:
            raise ValueError(
                f"burn_in must be 0 without agent/core, not {burn_in}: only a core has a state that it could move. The control of a core "
                "is agent/core=keep, which remembers nothing"
            )
        if capacity // num < burn_in + length:
            rows = f"{'burn_in + ' * bool(burn_in)}length rows for each environment ({burn_in + length} * {num})"
            raise ValueError(f"capacity must be at least {rows}, not {capacity}")
        self.stored_state = recurrence.state_size if recurrence.start == "stored" else 0
        super().__init__(capacity=capacity, n_step=n_step, num=num, needs=needs, **others)
        self._starts = WeakIdKeyDictionary()
        """`batch.index` of each draw -> the numbers of the first rows of its sequences. With a burn-in these rows are of the burn-in, whose
        numbers `batch.index` does not hold"""

    @property
    def reach(self) -> int:
        return self.burn_in + self.length + self.rule.restarts

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.length, self.batch_size)

    @property
    def unripe(self) -> int:
        return self.reach - 1

    def make_gather(self, size: int) -> Callable[..., Batch]:
        gather = SequenceWindows(self.ring, self.mirror, self.rule, self.length, size, self.burn_in, self.recurrence.state_size)

        def drawn(slot: Tensor, index: Tensor, weight: np.ndarray | None, edit: Edit | None = None) -> Batch:
            assert edit is None, "sequences are not edited"
            batch = gather(slot, index, weight)
            self._starts[batch.index] = index
            return batch

        return drawn

    def priorities(self, drawn: Batch, error: Tensor) -> None:  # type: ignore[override]  # its samples are batches
        if self.prioritized:
            starts = self._starts[drawn.index] if self.burn_in else drawn.index[0]
            priority = mixed(error.detach().cpu(), drawn.index >= 0, self.mix)
            self.draws.update(starts.numpy(), priority.numpy(), self.live)

    def beside(self, own: Batch | None, other: Batch) -> Batch:
        """One batch of this replay's sequences and of another replay's. The others get the number −1, so they get no priority here."""
        other = other._replace(index=torch.full_like(other.index, -1))
        found = joined([other] if own is None else [own, other])
        starts = torch.full((found.index.shape[1],), -1)
        if own is not None:
            starts[: own.index.shape[1]] = self._starts[own.index]
        self._starts[found.index] = starts
        return found


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches of sequences (T, ·) as one, (T, B), without noise."""
    one, *_ = parts
    fields = {name: torch.cat([getattr(part, name) for part in parts], 1) for name in one._fields[:10] if name != "reward"}
    reward = torch.cat([part.reward for part in parts], -1)  # of channels (C, T, B)
    extra = {name: torch.cat([part.extra[name] for part in parts], 0 if name == "state" else 1) for name in one.extra}
    return Batch(reward=reward, noise={}, extra=extra, **fields)


def mixed(error: Tensor, valid: Tensor, mix: float) -> Tensor:
    """Priority of each sequence, (B,): mix · max |error| + (1 − mix) · mean |error| over its valid rows; error, valid (T, B)."""
    size = torch.where(valid, error.abs(), 0.0)
    mean = size.sum(0) / valid.sum(0).clamp(min=1)
    return torch.lerp(mean, size.amax(0), mix)


class SequenceWindows:
    """Stored rows as batches of sequences, for one batch size.

    Args:
        mirror: the copy on the device, from which rows are taken if there is one.
        length, size: T, B.
        burn_in, state_size: T', and S, see `Sequences`.
    """

    def __init__(
        self, ring: Ring, mirror: DeviceMirror | None, rule: TransitionRule, length: int, size: int, burn_in: int = 0, state_size: int = 0
    ):
        at, device = ring.layout, rule.device
        self.rule, self.num, self.at, self.mirror, self.size, self.length = rule, at.num, at, mirror, size, length
        self.burn_in, self.state_size = burn_in, state_size
        self.powers = rule.powers if rule.n > 1 else None
        self.offsets = torch.arange(burn_in + length + 1 + rule.restarts)[:, None]
        self.offsets_there = self.offsets if mirror is None else self.offsets.to(device)
        self.rows, frames = ring.tensors()
        self.ones = torch.ones((length, size), device=device)
        self.stage = None if device.type == "cpu" and mirror is None else Staging(device)
        memory = self.windows(self.rows, frames) if mirror is None else self.windows(mirror.rows, mirror.frames)
        self.memory = HostWindows(memory, self.offsets.numel() * size) if mirror is None else DeviceWindows(memory)

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
            real = self.rows[slot + self.offsets[: self.burn_in + self.length], self.at.real] > 0
        return self.batch(rows, obs, real, index, weights)

    def gathered(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (T' + T, B, width) and observations (T' + T + 1, B, *obs), or a row more, from the places (T' + T + 1, B)."""
        at, memory, place = self.at, self.memory, place.flatten()
        rows = memory.take("rows", place)
        obs = rows[:, : at.size]
        if at.image:
            frames = memory.blank(memory.take("frames", place - at.front), rows[:, at.age, None], at)
            obs = at.observed(frames.view(len(place), at.stack, at.size))
        return rows.view(-1, self.size, at.width)[: self.burn_in + self.length], obs.reshape(-1, self.size, *self.rule.spec.obs_shape)

    def batch(self, rows: Tensor, obs: Tensor, real: Tensor, index: Tensor, weights: list[Tensor]) -> Batch:
        """
        Args:
            rows, obs: of `gathered`, on the device.
            real: (T' + T, B) bool on the CPU, whether a row is a transition, because only the replay reads the numbers that depend on it.
            index: (B,) the numbers of the first transitions.
            weights: importance weights (B,), if there are any.
        """
        at, rule, length, extra = self.at, self.rule, self.length, {}
        earlier = real.long().cumsum(0) - 1  # number of the sequence's transitions before this row
        number = torch.where(real, index + self.num * earlier, -1)[self.burn_in :]
        action = rows[..., at.action : at.reward] if rule.spec.action_dim else rows[..., at.action].long()
        if "state" in rule.extras:
            before, state = rows[: self.burn_in], rows[0, :, at.state :]
            extra["state"] = state if at.state < at.width else state.new_zeros(self.size, self.state_size)
            if self.burn_in:
                ends = (before[..., at.real] == 0) | (before[..., at.ended] > 0)
                extra |= {"burn_in": obs[: self.burn_in], "burn_in_action": action[: self.burn_in], "burn_in_ends": ends}
            rows, obs, action = rows[self.burn_in :], obs[self.burn_in :], action[self.burn_in :]
        valid, continues, ended = rows[..., at.real] > 0, rows[..., at.continues], rows[..., at.ended] > 0
        after, terminated = obs[1 : length + 1], continues == 0
        next_obs, restart = after, valid & terminated
        if rule.restarts:  # the episode's extra row lies between
            over = (restart & ended).view(*restart.shape, *[1] * (obs.dim() - 2))
            next_obs, continues = torch.where(over, obs[2:], after), rows[..., at.real]
        importance = weights[0].expand_as(self.ones) if weights else self.ones
        offered = {"successor": after, "behavior_probability": rows[..., at.probability], "terminated": terminated, "restart": restart}
        extra |= {name: offered[name] for name in offered if name in rule.extras}
        reward, discount, steps = rule.rewards(rows[..., at.reward]), continues * rule.discount, valid.long()
        if self.powers is not None:
            reward, discount, steps = folded(reward, continues, valid, self.powers)
            place = (torch.arange(length, device=steps.device)[:, None] + steps) * self.size + torch.arange(self.size, device=steps.device)
            next_obs = obs.flatten(0, 1).index_select(0, place.flatten()).view_as(next_obs)
        return Batch(obs[:length], action, reward, discount, next_obs, steps, ended, valid, importance, number, {}, extra)


def folded(reward: Tensor, continues: Tensor, valid: Tensor, powers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """n-step sums within sequences: `fold` of the windows of n rows that start at each row. Those behind the last row are none.

    Args:
        reward: (..., T, B), already transformed; continues: (T, B); valid: (T, B) bool.
        powers: (n + 1,) γ^0 ... γ^n.

    Returns:
        reward (..., T, B), discount (T, B), steps (T, B) int64, both 0 where not valid.
    """
    n = len(powers) - 1

    def windows(x: Tensor) -> Tensor:  # (..., T, B) -> (..., T · B, n)
        padded = torch.cat([x, x.new_zeros(n - 1, x.shape[-1]).expand(*x.shape[:-2], -1, -1)], -2)
        return padded.unfold(-2, n, 1).flatten(-3, -2)

    goes_on = windows(continues)
    sums, discount, steps = fold(windows(reward), goes_on, span(goes_on, windows(valid.to(continues.dtype))), powers)
    return sums.view_as(reward), discount.view_as(valid), torch.where(valid, steps.view_as(valid), 0)


class Auto(Replay):
    """`Sequences` for an agent that needs sequences, else `Replay` without `length`. For an agent that needs rollouts the configuration
    itself was replaced. Run folders of before 29 November 2026 have it; it may go with the first release."""

    offers = Sequences.offers
    hands_on: ClassVar = Replay

    def __new__(  # type: ignore[misc]  # a choice between two classes
        cls,
        *,
        length: int | None = None,
        epochs: int = 4,
        minibatches: int = 4,
        needs: frozenset[str] = frozenset(),
        **others,
    ) -> Replay:
        if "sequences" in needs:
            return Sequences(length=LENGTH if length is None else length, needs=needs, **others)
        return Replay(needs=needs, **others)
