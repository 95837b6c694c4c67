"""From rows to batches: the choice of transitions (sampler), and their n-step sums (folding).

    m = steps from t up to and including the first terminated or ended one, at most n, at most up to the newest row
    reward = Σ_{k<m} γ^k rewards(r_{t+k})      discount = γ^m (1 - terminated_{t+m-1})      next_obs = observation m steps later

`rewards` is the agent's reward transform. γ, termination, truncation and n exist in this room and nowhere else: a target is reward +
discount * value. `deeprl.replay.gather.Transitions.batch` computes the discount of n = 1, `deeprl.replay.fold.fold` that of more steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from deeprl.choice import Group, in_range, one_of
from deeprl.packing import kept
from deeprl.replay.gather import Drawn, Edit, Gather, Sample, TransitionRule, Transitions
from deeprl.replay.layout import layout
from deeprl.replay.memory import refuse_if_too_large
from deeprl.replay.mirror import DeviceMirror, fits
from deeprl.replay.ring import Ring
from deeprl.replay.sampler_check import require_resumes
from deeprl.replay.samplers import Live, Sampler, Uniform, check_drawn
from deeprl.replay.source import Pace, Settings, Source, rows_and_memory, steady
from deeprl.types import Batch, Rows, Spec, State


def in_main_memory(device: str, why: str) -> str:
    """The device "cpu", where another one was not asked for.

    Args:
        device: as in `Replay`.
        why: what does not go with "cuda".

    Raises:
        ValueError: "cuda" was asked for.
    """
    if device == "cuda":
        raise ValueError(f"device=cuda does not go with {why}: leave it out")
    return "cpu"


class Replay(Source):
    """Replay memory of M environments.

    The result of `draw` shares no memory with the storage, but **the next `draw` of the same batch size writes into the same buffers**:
    copy tensors that are needed longer.

    Args:
        capacity: rows of all environments together, including an extra row at the end of each episode.
        batch_size: B, transitions of an update.
        n_step: n.
        sampler: chooses the transitions.
        pace: when it is learned from.
        spec: of the environments.
        num: M.
        discount: γ.
        rewards: raw -> learned rewards, (...) -> (...) or (C, ...), applied before n-step sums.
        needs: needs of the agent. Those in `offers` become fields of `batch.extra`. With "restart" the newest n transitions of each
            environment cannot be sampled yet, because the first observation of the next episode is stored with its first transition.
        device: memory of the rows. "cpu"; "cuda" has a copy there, see `deeprl.replay.mirror`; "auto" has it if it fits. The draws are the
            same.
        batch_device: of the batches.

    Raises:
        ValueError: a value is out of range, or the machine or its device has less memory than a full replay needs.
    """

    offers = frozenset({"successor", "behavior_probability", "terminated", "restart"})
    argument_groups: ClassVar[Mapping[str, type[Group]]] = {"pace": Pace}
    paced_by: ClassVar[tuple[str, ...]] = ("replay.learning_starts", "replay.ratio")

    def __init__(
        self,
        *,
        capacity: int,
        batch_size: int,
        n_step: int = 1,
        sampler: Sampler = Uniform(),
        device: str = "auto",
        pace: Pace = Pace(),
        spec: Spec,
        num: int,
        discount: float,
        rewards: Callable[[Tensor], Tensor] = lambda raw: raw,
        needs: frozenset[str] = frozenset(),
        batch_device: str | torch.device = "cpu",
    ):
        self.capacity, self.batch_size, self.n_step, self.discount, self.num = capacity, batch_size, n_step, discount, num
        in_range(self, capacity=(1, None), batch_size=(1, None), n_step=(1, None), discount=(0, 1), num=(1, None))
        self.pace, self.device = pace, device
        one_of(self, device=("auto", "cpu", "cuda"))
        if not isinstance(sampler, Sampler):
            raise ValueError(f"sampler must be an option of its slot, replay/sampler=uniform, prioritized or lap, not {sampler!r}")
        require_resumes(sampler)
        self.spec = spec
        self.rule = TransitionRule(spec, n_step, discount, rewards, needs & self.offers, torch.device(batch_device))
        self.layout = layout(spec, capacity, num, self.reach, self.stored_state)
        self.bytes = self.layout.memory + sampler.memory(self.layout.ticks * num)
        """Memory of a full replay"""
        self._refuse_if_too_large()
        self.ring = Ring(self.layout)
        self.mirror = DeviceMirror(self.ring, self.rule.device) if fits(device, self.rule.device, self.layout.memory) else None
        self.draws = sampler.over(self.layout.ticks * num)
        self._gathers: dict[int, Gather] = {}
        self._written = WeakIdKeyDictionary()
        """`batch.index` of each draw from the device's copy -> ticks that had been written by then"""

    stored_state = 0
    """S, numbers of a core's state that are stored with each row"""

    @property
    def reach(self) -> int:
        """Number of rows that a window reaches ahead."""
        return self.n_step + self.rule.restarts

    @property
    def unripe(self) -> int:
        """Number of the newest transitions of each environment that cannot be sampled yet, because rows ahead of them are missing."""
        return self.n_step if self.rule.restarts else 0

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        end = -(-steps // num) * num  # a run ends with a step of all environments
        return steady(0, end, settings["learning_starts"], settings["ratio"])

    def room(self) -> str:
        """
        Raises:
            ValueError: with short episodes nothing might ever be drawn, because the end of each one takes a row too.
        """
        least = 2 * self.reach * self.num
        if self.unripe and self.capacity < least:
            raise ValueError(
                f"capacity must be at least {least}, twice the {self.reach} rows that a draw needs of each environment ({self.num}), not "
                f"{self.capacity}: the end of each episode takes a row too, and with short ones nothing could ever be drawn"
            )
        return rows_and_memory(self.capacity, self.bytes) + ("" if self.mirror is None else ", with a copy on the device")

    def _refuse_if_too_large(self, fixed: int = 0) -> None:
        """
        Args:
            fixed: bytes that are the same at each capacity.
        """
        key = "capacity" if self.collects else None
        refuse_if_too_large(key, self.capacity, self.bytes + self.working, fixed, state=4 * self.stored_state)

    # Writing

    def append(self, rows: Rows) -> None:
        self.ring.append(rows)
        self.observe(rows)

    def priorities(self, drawn: Sample, error: Tensor) -> None:
        if self.prioritized:
            self.draws.update(drawn.index.numpy(), error.detach().cpu().numpy(), self.live)

    @property
    def prioritized(self) -> bool:
        """Whether the sampler uses priorities."""
        return self.draws.takes_errors

    # Sampling

    @property
    def live(self) -> Live:
        first, last = self.ring.first, max(self.ring.last - self.unripe, self.ring.first)
        return Live(first * self.num, last * self.num, self.layout.ticks * self.num)

    def __len__(self) -> int:
        """Number of transitions that can be sampled."""
        return self.live.length

    def due(self, before: int, after: int) -> int:
        """Updates after the steps (before, after]."""
        return self.pace.due(before, after, self.begun)

    def updates(self, before: int, after: int) -> Iterator[Drawn | Batch]:
        due = self.due(before, after)
        # all ranks agree, because an empty replay depends on the number of steps alone
        return (self.sample(self.uniforms.next(), after) for _ in range(due)) if due and len(self) else iter(())

    def sample(self, noise: Mapping[str, Tensor], step: int) -> Drawn | Batch:
        """The draw of an update after `step`, by random numbers of `noise`."""
        return self.draw(noise["u"], step)

    def draw(self, u: Tensor, step: int | None = None, edit: Edit | None = None) -> Drawn | Batch:
        """Choose transitions and copy their rows.

        Args:
            u: (B,) float64 in [0, 1), on the CPU.
            step: environment step, for the schedule of priorities' β; None: the rows written so far.
            edit: see `Gather`.

        Raises:
            ValueError: the replay is empty.
        """
        live = self.live
        if not live.length:
            raise ValueError("the replay is empty")
        number, weight = self.draws.draw(u.numpy(), live, self.ring.last * self.num if step is None else step)
        check_drawn(self.draws, number, weight, len(u), live)
        gather = self.gather_of(len(number))
        slot = self.ring.slots.reshape(-1).take(number % live.size)  # of the transitions' rows in the ring
        index = torch.from_numpy(number)
        if self.mirror is not None:
            self._written[index] = self.ring.last
        return gather(torch.from_numpy(slot), index, weight, edit)

    def batch(self, drawn: Drawn | Batch) -> Batch:
        if isinstance(drawn, Batch):
            return drawn
        gather = self._gathers[drawn.index.shape[0]]
        assert isinstance(gather, Transitions)  # sequences are drawn as batches
        return gather.batch(drawn)

    def intact(self, drawn: Sample) -> bool:
        """Whether `batch` still gives what was drawn: a draw from the device's copy reads its rows there, until they are overwritten, or
        until rows follow that were missing in the n-step window of one of the newest transitions."""
        if self.mirror is None or isinstance(drawn, Batch):
            return True
        then = self._written[drawn.index]
        whole = int(drawn.index.max()) // self.num + self.n_step <= then
        return int(drawn.index.min()) >= self.live.first and (whole or then == self.ring.last)

    def gather_of(self, size: int) -> Gather:
        """What copies the rows of `size` transitions, made once."""
        gather = self._gathers.get(size)
        if gather is None:
            gather = self._gathers[size] = self.make_gather(size)
        return gather

    def make_gather(self, size: int) -> Gather:
        """What copies the rows of `size` transitions."""
        return Transitions(self.ring, self.mirror, self.rule, size)

    def seen(self) -> tuple[Tensor, Tensor | None]:
        """Raw rewards (R,) of the stored transitions, and their observations (R, *obs); None for images."""
        at, rows = self.layout, self.ring.written([0] * self.num)["rows"]
        rows = rows[rows[:, at.real] > 0]
        return rows[:, at.reward], None if at.image else rows[:, : at.size].unflatten(1, self.spec.obs_shape)

    # Checkpoints: the state is small, because each row is written only once

    def state_dict(self) -> State:
        """Cursors, incomplete rows and priorities (8 bytes per row). Everything else follows from the rows."""
        return {
            **self.ring.state_dict(),
            **self.draws.state_dict(self.live),
            **({"parts": kept(self.spec.parts)} if self.spec.parts else {}),
        }

    def marks(self) -> list[int]:
        return self.ring.count.tolist()

    def live_from(self) -> list[int]:
        return self.ring.held().tolist()

    def truncate_episode(self, environment: int) -> bool:
        self.ring.truncate_episode(environment)
        if self.mirror is not None:
            self.mirror.forget()
        return False

    def restart(self, step: int) -> str:
        self.begun, self.ring.began = step, False
        return f"{self.pace.learning_starts:,} more steps"

    def rows(self, since: list[int] | None = None) -> dict[str, Tensor] | None:
        return None if since == self.marks() else self.ring.written(since or [0] * self.num)

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        self.ring.load(state, segments)
        if self.mirror is not None:
            self.mirror.forget()
        self.draws.load(state, self.live)
