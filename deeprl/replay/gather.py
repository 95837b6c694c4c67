"""Gathering: copies of windows of stored rows, and the views of these that form a batch.

The rows lie in main memory (`Ring`), where a draw copies them into buffers that are used again; or on the device too (`DeviceMirror`),
where the arithmetic of a batch copies them, so that a captured update contains it. Which rows are copied is one function for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from deeprl.replay.fold import fold, span, within
from deeprl.replay.layout import Layout
from deeprl.replay.mirror import DeviceMirror, blanked
from deeprl.replay.ring import Ring, windows
from deeprl.system.staging import Staging
from deeprl.types import Batch, Spec


class Drawn(NamedTuple):
    """Copies of stored rows before any arithmetic, on the device but for `index`."""

    weight: Tensor
    """(B,)"""
    index: Tensor  # type: ignore[assignment]  # as in Batch
    """(B,), on the CPU, because only the replay reads it"""
    stored: dict[str, Tensor]
    """Tensors from which `Transitions.batch` computes a batch: copies of rows, or "slot", where they lie on the device"""
    lasting: dict[str, Tensor]
    """More of them, the same at every draw"""
    noise: dict[str, Tensor]
    """As in `Batch`"""


class Minibatch(NamedTuple):
    """Transitions of a rollout that lies on the device: what an update contains the copy of."""

    rollout: Batch
    """All of them, (L · M, ...), the same tensors at every draw"""
    index: Tensor  # type: ignore[assignment]  # as in Batch
    """(B,)"""
    noise: dict[str, Tensor]
    """As in `Batch`"""

    @property
    def lasting(self) -> dict[str, Tensor]:
        columns = {name: value for name, value in self.rollout._asdict().items() if isinstance(value, Tensor)}
        return {**columns, **self.rollout.extra}


Sample = Drawn | Minibatch | Batch
"""What an update is made from: rows as the replay drew them, or a batch"""


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


class HostWindows:
    """Windows in main memory: copies go into buffers that are used again.

    Args:
        windows: overlapping windows by name, (places, numbers of a window).
        size: windows that are copied at once.
    """

    def __init__(self, windows: dict[str, Tensor], size: int):
        self.windows = windows
        self.buffers = {name: torch.empty(size, view.shape[1], dtype=view.dtype) for name, view in windows.items()}

    def take(self, name: str, place: Tensor) -> Tensor:
        """(size, numbers of a window) copies of the windows at `place`, (size,)."""
        return torch.index_select(self.windows[name], 0, place, out=self.buffers[name])

    def blank(self, frames: Tensor, age: Tensor, at: Layout) -> Tensor:
        """See `blanked`; in place, and for nothing if no window begins before its episode."""
        if at.front and (ages := age.numpy()).min() < at.front:
            images = frames.numpy().reshape(len(frames), -1, at.size)
            images[at.front - np.arange(images.shape[1]) > ages] = 0
        return frames


class DeviceWindows(NamedTuple):
    """Windows on a device, as `HostWindows`, without buffers, because a captured update has its own."""

    windows: dict[str, Tensor]

    def take(self, name: str, place: Tensor) -> Tensor:
        return self.windows[name].index_select(0, place)

    def blank(self, frames: Tensor, age: Tensor, at: Layout) -> Tensor:
        return blanked(frames, age, at)


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


Edit = Callable[[Tensor, Tensor], None]
"""(copies of rows (B, W), numbers of their transitions (B,)) -> None: changes the copies in place. `Hindsight.exchange` relabels goals,
`deeprl.agents.mbpo.ModelReplay.imagine` puts imagined transitions in place of stored ones"""


class Gather(Protocol):
    """Copies stored rows, for one batch size."""

    def __call__(self, slot: Tensor, index: Tensor, weight: np.ndarray | None, edit: Edit | None = None) -> Drawn | Batch:
        """
        Args:
            slot: (B,) where the first rows lie.
            index: (B,) the numbers of the first transitions.
            weight: (B,) float64, None for ones.
            edit: called with copies of rows in main memory, and with the numbers of the transitions; it may change the copies.
        """


class Transitions:
    """Stored rows as batches of transitions, for one batch size.

    Args:
        mirror: the copy on the device, from which rows are taken if there is one.
        size: B.
    """

    def __init__(self, ring: Ring, mirror: DeviceMirror | None, rule: TransitionRule, size: int):
        n, device = rule.n, rule.device
        self.rule, self.at, self.mirror, self.n, self.size, self.shape = rule, ring.layout, mirror, n, size, rule.spec.obs_shape
        self.gathers_next = n > 1 or rule.restarts  # next_obs is gathered by itself, because it may lie further ahead than one row
        self.weight = torch.ones(size, device=device)
        self.lasting = {
            "steps": torch.ones(size, dtype=torch.int64, device=device),
            "valid": torch.ones(size, dtype=torch.bool, device=device),
        }
        if n > 1:
            self.lasting["powers"] = rule.powers
        self.stage = None if device.type == "cpu" and mirror is None else Staging(device)
        self.known: tuple[Any, ...] = (None, None)
        """The buffer of rows in main memory, and its views"""
        if mirror is None:
            self.here = HostWindows(self.windows(*ring.tensors()), size)
            self.known = self.here.buffers["rows"], self._fields(self.here.buffers["rows"])
        else:
            self.lasting |= self.windows(mirror.rows, mirror.frames)

    def windows(self, rows: Tensor, frames: Tensor | None) -> dict[str, Tensor]:
        """Overlapping views of a memory, of which a batch is selected by the places of its rows."""
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

    def __call__(self, slot: Tensor, index: Tensor, weight: np.ndarray | None, edit: Edit | None = None) -> Drawn:
        """
        Args:
            slot: (B,) where the rows lie.
            index: (B,) the transitions' numbers.
            weight: (B,) float64, None for ones.
            edit: see `Gather`.
        """
        if self.mirror is None:
            stored = self.gathered(self.here, slot)
            if edit is not None:
                edit(stored["rows"], index)
        else:
            assert edit is None, "rows of a mirror are not copied here"
            self.mirror.follow()
            stored = {"slot": slot}
        if weight is not None:
            stored["weight"] = torch.from_numpy(weight).float()
        if self.stage is not None:
            stored = dict(zip(stored, self.stage(list(stored.values()))))
        return Drawn(stored.pop("weight", self.weight), index, stored, self.lasting, {})

    def gathered(self, memory: HostWindows | DeviceWindows, slot: Tensor) -> dict[str, Tensor]:
        """Copies of all that a batch is computed from: rows, and by themselves frames, observations m steps later, the mask of windows."""
        at, rows = self.at, memory.take("rows", slot)
        stored, row, in_window, age = {"rows": rows}, self.fields(rows), None, rows[:, at.age, None]
        if at.image:
            stored["frames"] = memory.blank(memory.take("frames", slot - at.front if at.front else slot), age, at)
        if self.n > 1:
            in_window = stored["in_window"] = span(row.continues, row.real)
        if self.gathers_next:
            steps, skipped = self._ahead(row, in_window)
            found = memory.take("next_obs", slot + steps + skipped - at.front)
            # the first observation of an episode has age 0
            stored["next_obs"] = memory.blank(found, (age + steps.unsqueeze(1)) * (1 - skipped).unsqueeze(1), at) if at.image else found
        return stored

    def batch(self, drawn: Drawn) -> Batch:
        """The batch of a draw, a pure function of tensors."""
        stored, lasting, rule = drawn.stored, drawn.lasting, self.rule
        if self.mirror is not None:
            stored = self.gathered(DeviceWindows(lasting), stored["slot"])
        row, steps = self.fields(stored["rows"]), lasting["steps"]
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
        next_obs = successor
        if self.gathers_next:
            found = stored["next_obs"]
            next_obs = self._images(found)[0] if self.at.image else found.view(self.size, *self.shape)
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

    def fields(self, block: Tensor) -> _Fields:
        """Views of rows. Those of the buffer are made once; on another device `block` is a copy with views of its own."""
        known, fields = self.known
        return fields if block is known else self._fields(block)

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
        """(B, k * size) -> observations from the first `stack` and from the last `stack` frames."""
        at, frames = self.at, frames.view(self.size, -1, self.at.size)
        now = later = at.observed(frames[:, : at.stack]).view(self.size, *self.shape)
        if frames.shape[1] > at.stack:
            later = at.observed(frames[:, -at.stack :]).view(self.size, *self.shape)
        return now, later

    def _ahead(self, row: _Fields, in_window: Tensor | None) -> tuple[Tensor, Tensor]:
        """Number of rows from t to next_obs, (B,) int64: m, and 1 more where it is the first observation of the next episode, behind the
        extra row of the one that terminated."""
        steps = torch.ones_like(row.probability).long() if in_window is None else in_window.sum(1).long()
        if not self.rule.restarts:
            return steps, torch.zeros_like(steps)
        # a lost life terminates without an end, and has no extra row
        skipped = within(1.0 - row.continues, in_window) & within(row.ended, in_window)
        return steps, skipped.long()
