"""From rows to batches: which transitions (sampler), how many steps they span and what they earned (n-step folding).

    m = steps from t up to and including the first terminated or ended one, at most n, at most up to the newest row
    reward = Σ_{k<m} γ^k f(r_{t+k})      discount = γ^m (1 - terminated_{t+m-1})      next_obs = observation m steps later

f is the agent's reward transform. γ, termination, truncation and n exist here and nowhere else: a target is reward + discount * value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.noise import NoiseStream
from deeprl.replay.ring import Ring, layout
from deeprl.replay.samplers import Live, Prioritized, PrioritizedDraws, Uniform
from deeprl.types import Batch, Rows, Spec


def span(continues: Tensor, real: Tensor) -> Tensor:
    """Which rows of a window belong to its transition: (B, n), ones and then zeros.

    Args:
        continues, real: (B, n), 1 or 0: not terminated; is a transition. An episode's end shows in the row after it, which is none.
    """
    goes_on = continues[:, :-1] * real[:, 1:]  # from step k to step k + 1
    return torch.cat((torch.ones_like(continues[:, :1]), goes_on.cumprod(1)), 1)


def fold(reward: Tensor, continues: Tensor, alive: Tensor, powers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """n-step sums over windows of rows.

    Args:
        reward: (..., B, n), already transformed.
        continues: (B, n), 0 where terminated.
        alive: (B, n) from `span`.
        powers: (n + 1,) γ^0 ... γ^n.

    Returns:
        reward (..., B), discount (B,), steps (B,) int64.
    """
    steps = alive.sum(1).long()
    # a window stops at a termination, so that at most one of its rows has one
    bootstrap = 1.0 - (alive * (1.0 - continues)).sum(1)
    # where, not a product: rewards behind the window may be infinite in somebody's transform
    earned = torch.where(alive > 0, reward * powers[:-1], 0.0).sum(-1)
    return earned, powers[steps] * bootstrap, steps


def _entry(file: Path, name: str) -> int:
    """The number in the line `name 123` of a file of the kernel's."""
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(f"no {name} in {file}")


def available_memory() -> int | None:
    """Bytes that this process can still take: of the machine, or of its control group if that is less. None where neither is known."""
    known = []
    try:
        known.append(1024 * _entry(Path("/proc/meminfo"), "MemAvailable:"))
    except (OSError, ValueError):
        try:
            known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))  # macOS: all there is, used or not
        except (ValueError, OSError, AttributeError):
            pass
    for folder, most, used in (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            group = Path("/sys/fs/cgroup", folder)
            cache = _entry(group / "memory.stat", "inactive_file")  # given back when somebody asks for it
            known.append(int((group / most).read_text()) - int((group / used).read_text()) + cache)
        except (OSError, ValueError):  # no such group, or its limit reads "max"
            pass
    return min(known) if known else None


class Replay(Choice):
    """Replay memory of M environments.

    A batch from `sample` shares no memory with the storage, but **its buffers are used again by the next `sample` of the same batch
    size**: keep copies of what must outlive it.

    Args:
        capacity: rows of all environments together, an extra one at each episode's end included.
        batch_size: B of `noise`.
        n_step: n.
        sampler: `Uniform` or `Prioritized`.
        spec: of the environments.
        num: M.
        discount: γ.
        rewards: raw -> learned reward(s), (...) -> (...) or (C, ...), applied before sums are taken.
        needs: of these, the names in `offers` are the fields of `batch.extra` to fill.
        seed: for `sample()` without uniforms.
        device: of the batches. The storage stays in main memory.

    Raises:
        ValueError: for values out of range, or if the machine has less memory than a full replay needs.
    """

    offers = frozenset({"successor", "behavior_probability"})

    def __init__(
        self,
        *,
        capacity: int,
        batch_size: int,
        n_step: int = 1,
        sampler: Uniform | Prioritized = Uniform(),
        spec: Spec,
        num: int,
        discount: float,
        rewards: Callable[[Tensor], Tensor] = lambda raw: raw,
        needs: frozenset[str] = frozenset(),
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        self.capacity, self.batch_size, self.n_step, self.discount, self.num = capacity, batch_size, n_step, discount, num
        in_range(self, capacity=(1, None), batch_size=(1, None), n_step=(1, None), discount=(0, 1), num=(1, None))
        self.spec, self.rewards, self.device = spec, rewards, torch.device(device)
        self.layout = layout(spec, capacity, num, self.reach)
        self.bytes = self.layout.memory + sampler.memory(self.layout.ticks * num)
        """that a full replay takes"""
        self._refuse_if_too_large()
        self.ring = Ring(self.layout)
        self.draws = sampler.over(self.layout.ticks * num)
        self.powers = torch.tensor([discount**m for m in range(n_step + 1)], dtype=torch.float64).float()
        self.successor = "successor" in needs
        self.probability = "behavior_probability" in needs
        self.stream = NoiseStream(seed, "replay", "sample", self.noise, 64)
        self._gathers: dict[int, Any] = {}

    @staticmethod
    def memory(spec: Spec, capacity: int, num: int = 1, n_step: int = 1, sampler: Uniform | Prioritized = Uniform()) -> int:
        """Bytes that a full replay takes."""
        plan = layout(spec, capacity, num, n_step)
        return plan.memory + sampler.memory(plan.ticks * num)

    @property
    def reach(self) -> int:
        """Rows that a window reaches ahead."""
        return self.n_step

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """*B"""
        return (self.batch_size,)

    def _refuse_if_too_large(self) -> None:
        needed, available = self.bytes, available_memory()
        if available is not None and needed > available:
            each = needed / self.capacity
            fits = max(int((available - (64 << 20)) / each), 0)
            raise ValueError(
                f"capacity={self.capacity} needs {needed:,} bytes ({each:,.0f} a row), and {available:,} are available: "
                f"replay.capacity={fits} would fit"
            )

    # Writing

    def append(self, rows: Rows) -> None:
        """One tick of M environments."""
        self.ring.append(rows)

    def update_priorities(self, index: Tensor, error: Tensor) -> None:
        """
        Args:
            index: (B,) `batch.index`. Rows overwritten since then are left alone.
            error: (B,) `learned.error`.
        """
        self.draws.update(index.detach().cpu().numpy(), error.detach().cpu().numpy(), self.live)

    @property
    def prioritized(self) -> bool:
        """Whether `update_priorities` matters."""
        return isinstance(self.draws, PrioritizedDraws)

    # Sampling

    @property
    def live(self) -> Live:
        return Live(self.ring.first * self.num, self.ring.last * self.num, self.layout.ticks * self.num)

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self.live.alive

    def ready(self, minimum: int) -> bool:
        """At least `minimum` transitions have been added (not: are alive, or a minimum near the capacity might never be reached)."""
        return len(self) > 0 and self.ring.last * self.num >= minimum

    def noise(self, block: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Uniforms for `block` batches: {"u": (block, B)} float64."""
        return {"u": torch.rand(block, self.batch_size, generator=generator, dtype=torch.float64)}

    def sample(self, u: Tensor | None = None) -> Batch:
        """
        Args:
            u: (B,) float64 in [0, 1), on the CPU; drawn here if missing.

        Returns:
            a batch without noise, on `device`.
        """
        return self.batch(self.draw(u))

    def batch(self, drawn: Drawn | Batch) -> Batch:
        """What was drawn, as agents know it: a pure function of tensors, which may be a part of a compiled step. A batch is one already."""
        return drawn if isinstance(drawn, Batch) else self._gathers[drawn.index.shape[0]].batch(drawn)

    def draw(self, u: Tensor | None = None) -> Drawn | Batch:
        """The first half of `sample`: choosing and copying."""
        if u is None:
            u = self.stream.next()["u"]
        live = self.live
        if not live.alive:
            raise ValueError("the replay is empty")
        number, weight = self.draws.draw(u.numpy(), live, self.ring.last * self.num)
        gather = self._gathers.get(len(number))
        if gather is None:
            gather = self._gathers[len(number)] = self.gather(len(number))
        slot = self.ring.slots.reshape(-1).take(number % live.size)
        return gather(torch.from_numpy(slot), torch.from_numpy(number), weight)

    def gather(self, size: int) -> Any:
        """`gather(slot, index, weight)`: `Drawn` of `size` from where their rows lie, which its `batch` turns into a batch."""
        return _Gather(self, size)

    # Checkpoints: the state is small, rows are written once

    def state_dict(self) -> dict:
        """Cursors, incomplete rows and priorities (8 bytes a row); what else follows from the rows is derived."""
        return {**self.ring.state_dict(), **self.draws.state_dict(self.live), "stream": self.stream.position}

    def marks(self) -> list[int]:
        """Rows ever written by each environment."""
        return self.ring.count.tolist()

    def live_from(self) -> list[int]:
        """Number of the oldest row that each environment still holds: segments that end before are of no use."""
        return self.ring.held().tolist()

    def cut(self, environment: int) -> None:
        """Mark the episode that an environment is in as truncated at its newest row: nobody can go on with it."""
        self.ring.cut(environment)

    def rows(self, since: list[int] | None = None) -> dict[str, Tensor]:
        """A segment: the rows written since `marks()` was `since`, at most what is still there."""
        return self.ring.written([0] * self.num if since is None else since)

    def load(self, state: dict, segments: Iterable[dict[str, Tensor]]) -> None:
        """Go on from `state`, whose rows are in `segments`, oldest first.

        Raises:
            ValueError: if rows are missing or are not of this environment.
        """
        self.ring.load(state, segments)
        self.draws.load(state, self.live)
        self.stream.position = int(state["stream"])


class Drawn(NamedTuple):
    """Copies of what lies in the storage, before any arithmetic. All on the device."""

    weight: Tensor
    """(B,)"""
    index: Tensor  # type: ignore[assignment]  # as in Batch
    """(B,)"""
    stored: dict[str, Tensor]
    """What `_Gather.batch` makes a batch from"""
    noise: dict[str, Tensor]
    """As in `Batch`"""


class _Fields(NamedTuple):
    """Views of a block of windows."""

    obs: Tensor
    """Empty for images, which are elsewhere; so is the next one"""
    successor: Tensor
    action: Tensor
    reward: Tensor
    """(B, n), or (B,) if n is 1, like the next three"""
    continues: Tensor
    real: Tensor
    ended: Tensor
    probability: Tensor


class _Gather:
    """From slots to batches, for one batch size: the buffers, and the views of them that make up a batch. What depends on data, as the
    place of an observation n steps later, is done while drawing."""

    def __init__(self, replay: Replay, batch: int):
        at, n, ring = replay.layout, replay.n_step, replay.ring
        self.replay, self.at, self.n, self.batch_size, self.device = replay, at, n, batch, replay.device
        self.away = self.device.type != "cpu"
        # float observations: of the row n steps later only the observation is read, which comes first
        self.source = ring.windows(n) if at.image else ring.windows(n + 1, cut=at.width - at.size)
        self.block = torch.empty(batch, self.source.shape[1])
        self.fields = self._fields(self.block)
        self.age = self.block.numpy()[:, at.age, None]
        if at.image:
            # with one step, or if the successor is asked for, the frame of t + 1 comes with those of t
            ahead = n == 1 or replay.successor
            self.frame_source = ring.frame_windows(at.stack + ahead)
            self.frames = torch.empty(batch, self.frame_source.shape[1], dtype=torch.uint8)
            self.images = self._images(self.frames)
        if n > 1:
            self.later_source = ring.frame_windows(at.stack) if at.image else ring.windows(1, cut=at.width - at.size)
            self.later = torch.empty(batch, self.later_source.shape[1], dtype=self.later_source.dtype)
        self.steps = torch.ones(batch, dtype=torch.int64, device=self.device)
        self.valid = torch.ones(batch, dtype=torch.bool, device=self.device)
        self.weight = torch.ones(batch, device=self.device)
        self.powers = replay.powers.to(self.device)

    def __call__(self, slot: Tensor, index: Tensor, weight: np.ndarray | None) -> Drawn:
        """
        Args:
            slot: (B,) where the rows lie.
            index: (B,) the transitions' numbers.
            weight: (B,) float64, None for ones.
        """
        torch.index_select(self.source, 0, slot, out=self.block)
        stored = {"rows": self.block, "steps": self.steps, "valid": self.valid}
        if self.at.image:
            stored["frames"] = self._near(slot)
        if self.n > 1:
            stored["powers"], stored["alive"] = self.powers, span(self.fields.continues, self.fields.real)
            stored["later"] = self._later(slot, stored["alive"].sum(1).long())
        importance = self.weight if weight is None else torch.from_numpy(weight).to(self.device, torch.float32)
        if self.away:
            index, stored = index.to(self.device), {name: tensor.to(self.device) for name, tensor in stored.items()}
        return Drawn(importance, index, stored, {})

    def batch(self, drawn: Drawn) -> Batch:
        """Pure: in nested functions of tensors only."""
        stored, replay = drawn.stored, self.replay
        rows, steps = stored["rows"], stored["steps"]
        row = self.fields if rows is self.block else self._fields(rows)
        reward = replay.rewards(row.reward)
        if self.n == 1:
            discount, ended = row.continues * replay.discount, row.ended > 0
        else:
            alive = stored["alive"]
            reward, discount, steps = fold(reward, row.continues, alive, stored["powers"])
            ended = (row.ended * alive).sum(1) > 0
        obs, successor = row.obs, row.successor
        if self.at.image:
            frames = stored["frames"]
            obs, successor = self.images if frames is self.frames else self._images(frames)
        next_obs = successor if self.n == 1 else stored["later"].view(self.batch_size, *replay.spec.obs_shape)
        extra = {"successor": successor} if replay.successor else {}
        if replay.probability:
            extra["behavior_probability"] = row.probability
        action = row.action if replay.spec.action_dim else row.action.long()
        return Batch(
            obs, action, reward, discount, next_obs, steps, ended, stored["valid"], drawn.weight, drawn.index, drawn.noise, extra
        )  # fmt: skip

    def _fields(self, block: Tensor) -> _Fields:
        at, n = self.at, self.n

        def column(place: int) -> Tensor:
            return block[:, place] if n == 1 else block.as_strided((self.batch_size, n), (block.stride(0), at.width), place)

        obs = successor = block[:, :0]
        if not at.image:
            shape = self.replay.spec.obs_shape
            obs, successor = (block[:, place : place + at.size].unflatten(1, shape) for place in (0, at.width))
        return _Fields(
            obs,
            successor,
            block[:, at.action : at.reward] if self.replay.spec.action_dim else block[:, at.action],
            column(at.reward),
            column(at.continues),
            column(at.real),
            column(at.ended),
            block[:, at.probability],
        )

    def _images(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, k * size) -> observations from the first `stack` and from the last `stack` frames, as views."""
        stack, shape = self.at.stack, self.replay.spec.obs_shape
        frames = frames.view(self.batch_size, -1, self.at.size)
        return frames[:, :stack].view(self.batch_size, *shape), frames[:, -stack:].view(self.batch_size, *shape)

    def _blank(self, frames: Tensor, age: np.ndarray) -> None:
        """Zero the frames from before the episode. age: (B, 1) frames that the episode had before frame `front`."""
        front = self.at.front
        if front and age.min() < front:
            images = frames.numpy().reshape(self.batch_size, -1, self.at.size)
            images[front - np.arange(images.shape[1]) > age] = 0

    def _near(self, slot: Tensor) -> Tensor:
        """Frames of the images at t and at t + 1."""
        torch.index_select(self.frame_source, 0, slot - self.at.front if self.at.front else slot, out=self.frames)
        self._blank(self.frames, self.age)
        return self.frames

    def _later(self, slot: Tensor, steps: Tensor) -> Tensor:
        """Observations at t + m. steps: (B,) on the CPU."""
        torch.index_select(self.later_source, 0, slot + steps - self.at.front, out=self.later)
        if self.at.image:
            self._blank(self.later, self.age + steps.numpy()[:, None])
        return self.later
