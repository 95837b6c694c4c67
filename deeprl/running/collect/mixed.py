"""Learning from stored data and from a run's own transitions: symmetric sampling (RLPD: Ball et al., 2023), a prefilled replay, and steps
offline before the first of an environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import in_range
from deeprl.replay.gather import Drawn, Edit, Transitions
from deeprl.replay.memory import refuse_if_too_large
from deeprl.replay.replay import Replay, in_main_memory
from deeprl.replay.sequences import Sequences
from deeprl.replay.source import Prepare, Settings, steady
from deeprl.running.collect.stored import Stored, StoredSequences
from deeprl.system.terminal import amount
from deeprl.types import Batch, Rows, State


class Mixed(Replay):
    """A replay beside data that stay as they are.

    A share of each batch comes from the data, drawn uniformly and with weight 1, the rest from the run's own transitions. Where there are
    none of these yet, the whole batch comes from the data.

    Args:
        data: a run folder or a data set, as in `Stored`.
        share: of each batch, a whole number of transitions. 0 is the replay itself, bit for bit. None: the data are the first rows of
            the replay itself; they age, and are overwritten.
        offline_steps: steps before the first of an environment. They are only counted, `pace.ratio` updates each, and `learning_starts`
            counts from there on.
        others: as in `Replay`. The rows are in main memory.

    Raises:
        ValueError: as in `Stored`; the share is no whole number of transitions, the data do not fit into the replay, or both do not fit
            into memory.
    """

    counted: ClassVar = {"offline_steps": 0}
    hands_on: ClassVar = Replay
    unit: ClassVar = "transitions"
    """What a batch has B of"""

    def __init__(self, *, data: str, share: float | None = 0.5, offline_steps: int = 0, batch_size: int, device: str = "auto", **others):
        super().__init__(batch_size=batch_size, device=in_main_memory(device, "data beside it, whose rows are in main memory"), **others)
        self.share, self.offline_steps = 0.0 if share is None else share, offline_steps
        in_range(self, share=(0, 1), offline_steps=(0, None))
        self.from_data = round(self.share * batch_size)
        """Transitions or sequences of a batch that come from the data"""
        if abs(self.from_data - self.share * batch_size) > 1e-6:
            raise ValueError(
                f"share={share} of batch_size={batch_size} is {self.share * batch_size:g}, not a whole number of {self.unit}: choose "
                "another batch_size, or another share"
            )
        self.learned_from = bool(self.from_data or offline_steps) or share is None
        """Whether the data are"""
        needs = self.rule.extras if self.learned_from else self.rule.extras - {"behavior_probability"}
        self.data = self.stored(
            data=data, batch_size=batch_size, n_step=self.n_step, device="cpu", spec=self.spec, num=self.num, discount=self.discount,
            rewards=self.rule.rewards, needs=needs, batch_device=self.rule.device,
        )  # fmt: skip
        self.provenance, self.working, self.held = self.data.provenance, self.data.bytes, self.data.bytes
        refuse_if_too_large("capacity", self.capacity, self.bytes, state=4 * self.stored_state)  # beside the data, which are in memory now
        if share is None:
            self._take_in()
            if self.layout.front:
                self.needs_rows = "share=null with stacked frames, of which the first ones of a run that goes on would follow the data's"

    def stored(self, **given: Any) -> Stored:
        """The data, drawn as the run's own are."""
        return Stored(**given)

    def _take_in(self) -> None:
        """Store all data as if the M environments had made them, one after the other. An episode that is cut is truncated there, and what
        is left of it begins as an episode does: the frames before it are zeros, although the data's own observations had others."""
        numbers = self.data.numbers()
        order = np.concatenate([numbers[numbers % self.data.num == each] for each in range(self.data.num)])
        ticks = len(order) // self.num
        if not ticks:
            raise ValueError(f"share=null gives each of the {self.num} environments a part of the data, which are {len(order)} transitions")
        order = order[: ticks * self.num].reshape(self.num, ticks).T  # (ticks, M)
        last = (order > numbers[-1] - self.data.num) | (np.arange(ticks) == ticks - 1)[:, None]
        ended = last | self.data.transitions(order.reshape(-1), images=False).ended.reshape(order.shape)
        rows = ticks + 1 + int(ended.sum(0).max())  # of the environment with the most episodes
        if rows > self.layout.ticks:
            raise ValueError(f"capacity={self.capacity} is too little for the data, which take up to {rows * self.num:,} rows")
        parts = -(-ticks // 1024)
        for some, ends in zip(np.array_split(order, parts), np.array_split(ended, parts)):
            found = self.data.transitions(some.reshape(-1))
            if found.state.shape[1] != self.stored_state:  # of no core, or of another one
                found = found._replace(state=np.zeros((some.size, self.stored_state), np.float32))
            columns = [column.reshape(*some.shape, *column.shape[1:]) for column in found]
            for place, end in enumerate(ends):
                row = Rows(*(column[place] for column in columns))
                row = row._replace(ended=end)
                self.ring.append(row, compared=True)  # when it was collected
                self.observe(row)

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        offline, ratio = settings["offline_steps"], settings["ratio"]
        end, begins = (-(-count // num) * num for count in (steps, min(offline, steps)))
        return steady(0, begins, 0, ratio) + steady(begins, end, offline + settings["learning_starts"], ratio)

    def connect(self, seed: int, part: str, observe: Callable[[Rows], object], prepare: Prepare) -> None:
        super().connect(seed, part, observe, prepare)
        if self.learned_from:
            self.data.show(observe)

    def room(self) -> str:
        how = f", and {self.from_data} of {self.batch_size} {self.unit} of a batch from data" if self.from_data else ""
        return f"{super().room()}, beside {amount(self.working)} of data{how}"

    def __len__(self) -> int:
        return super().__len__() + len(self.data) * self.learned_from

    def due(self, before: int, after: int) -> int:
        if before < self.offline_steps:
            return steady(before, after, 0, self.pace.ratio)
        return self.pace.due(before, after, max(self.begun, self.offline_steps))

    def draw(self, u: Tensor, step: int | None = None, edit: Edit | None = None) -> Drawn | Batch:
        own = len(u) - self.from_data if self.live.length else 0
        if own == len(u):
            return super().draw(u, step, edit)
        return self.beside(super().draw(u[:own], step, edit) if own else None, self.data.draw(u[own:]))

    def beside(self, own: Any, other: Any) -> Drawn | Batch:
        """One draw of own rows, if there are any, and of the data's, which have no numbers, and no priorities here."""
        parts: list[Drawn] = [other] if own is None else [own, other]
        numbers = torch.cat([*(part.index for part in parts[:-1]), torch.full_like(other.index, -1)])
        stored = {name: torch.cat([part.stored[name] for part in parts]) for name in other.stored}
        gather = self.gather_of(len(numbers))
        assert isinstance(gather, Transitions)
        return Drawn(torch.cat([part.weight for part in parts]), numbers, stored, gather.lasting, {})

    # Checkpoints: the data are named, and the own rows are stored

    def state_dict(self) -> State:
        return {**super().state_dict(), "data": self.data.digest}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        """
        Raises:
            ValueError: the data have changed since, or as in `Replay`.
        """
        self.require(state.get("data"))
        super().load(state, segments)


class MixedSequences(Mixed, Sequences):
    """As `Mixed`, in sequences: a whole number of those of each batch comes from the data, see `StoredSequences`. Data that are the first
    rows of the replay itself keep the states of a core of as many numbers, and have zeros otherwise.
    """

    counted: ClassVar = {**Sequences.counted, **Mixed.counted}
    hands_on: ClassVar = Sequences
    unit = "sequences"
    beside = Sequences.beside

    def stored(self, **given: Any) -> Stored:
        return StoredSequences(length=self.length, recurrence=self.recurrence, **given)
