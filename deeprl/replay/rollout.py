"""Rollouts: L ticks of M environments, learned from in E passes, then dropped.

The policy is constant while a rollout is collected. At its end the agent prepares what its losses need of the whole rollout, such as
returns, once. Then each pass (*epoch*) draws every transition exactly once, in N batches of L · M / N. For an agent with a core a batch is
M / N whole environments, because its state goes through the ticks of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from deeprl.choice import counts, in_range
from deeprl.replay.gather import Minibatch, Sample
from deeprl.replay.memory import HOST, of_gpu, too_little
from deeprl.replay.ring import require_actions
from deeprl.replay.source import Settings, Source, rows_and_memory
from deeprl.types import Batch, Rows, Spec, State

LISTED = 1 << 14
"""Transitions up to which a pass is shuffled in a list: an order of its own for each size, which runs of earlier versions have too"""


def row_bytes(spec: Spec) -> int:
    """Memory of a row: two observations, an action, reward and probability, and two truths."""
    return 2 * prod(spec.obs_shape) * spec.obs_dtype.itemsize + (4 * spec.action_dim or 8) + 2 * 4 + 2


class Rollout(Source):
    """Storage of one rollout. Statistics of its rows are merged at its end, because they must not change while it is used.

    Args:
        length: L, ticks.
        epochs: E, passes over a rollout.
        minibatches: N, updates of a pass.
        spec, num, discount, rewards, needs, batch_device: as in `Replay`.
        state_size: S, numbers of the core's state of an environment; 0 without a core.
        on_device: rows lie where batches go. Who collects writes them into `ticks` there, and calls `written`.

    Raises:
        ValueError: a value is out of range, or L · M is no multiple of N; with a core, if M is none; or the machine or its device has less
            memory than a rollout needs.
    """

    counted: ClassVar = {"length": 1, "epochs": 1, "minibatches": 1}
    offers = frozenset({"rollout", "successor", "behavior_probability", "terminated", "state"})
    paced_by = ("env.num", "replay.length")

    def __init__(
        self,
        *,
        length: int = 128,
        epochs: int = 4,
        minibatches: int = 4,
        spec: Spec,
        num: int,
        discount: float,
        rewards: Callable[[Tensor], Tensor] = lambda raw: raw,
        needs: frozenset[str] = frozenset(),
        batch_device: str | torch.device = "cpu",
        state_size: int = 0,
        on_device: bool = False,
    ):
        self.length, self.epochs, self.minibatches, self.num = length, epochs, minibatches, num
        counts(self, length=1, epochs=1, minibatches=1, num=1)
        self.spec, self.discount, self.rewards, self.extras, self.device = spec, discount, rewards, needs, torch.device(batch_device)
        in_range(self, discount=(0, 1))
        self.capacity = length * num
        self.recurrent = "state" in needs
        if self.recurrent and num % minibatches:
            raise ValueError(
                f"minibatches must divide the {num} environments, not be {minibatches}, because agent/core goes through the whole "
                "rollout of each: change it or env.num"
            )
        if self.capacity % minibatches:
            raise ValueError(
                f"minibatches must divide the {length} · {num} transitions of a rollout, not be {minibatches}: change it, length or env.num"
            )
        tick = num * row_bytes(spec)
        for place in [self.device] if on_device else dict.fromkeys([HOST, self.device]):  # a whole rollout goes where it is learned from
            if (available := too_little(length * tick, place)) is not None:
                raise ValueError(
                    f"length={length} of {num} environments needs {length * tick:,} bytes, and {available:,} are available{of_gpu(place)}: "
                    f"replay.length={max((available - (64 << 20)) // tick, 1)} would fit, or fewer environments, env.num"
                )
        self.shuffled = num if self.recurrent else self.capacity
        """What a pass shuffles: transitions, or environments"""
        self.batch_size = self.shuffled // minibatches
        self.start = torch.zeros(num, state_size)
        """State of the core before the first tick"""
        shape, axes, self.on_device = tuple(spec.obs_shape), (length, num), on_device
        with torch.device(self.device if on_device else "cpu"):
            self.stored = {
                "obs": torch.zeros((*axes, *shape), dtype=spec.obs_dtype),
                "next_obs": torch.zeros((*axes, *shape), dtype=spec.obs_dtype),
                "action": torch.zeros((*axes, spec.action_dim)) if spec.action_dim else torch.zeros(axes, dtype=torch.int64),
                "reward": torch.zeros(axes),
                "terminated": torch.zeros(axes, dtype=torch.bool),
                "ended": torch.zeros(axes, dtype=torch.bool),
                "probability": torch.zeros(axes),
            }
        self.arrays = {} if on_device else {name: tensor.numpy() for name, tensor in self.stored.items()}
        self.ticks = [{name: tensor[tick] for name, tensor in self.stored.items()} for tick in range(length)]
        """Rows (M, ...) of each tick, as views"""
        self.learned: Batch | None = None
        """The rollout of the present updates, on the device: its tensors stay, because a recorded update has their addresses"""
        self.bytes = sum(tensor.numel() * tensor.element_size() for tensor in self.stored.values())
        self.filled = 0
        """Ticks collected"""
        self.previous = 0
        """Ticks of the last rollout"""

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        return -(-steps // num) // settings["length"] * settings["epochs"] * settings["minibatches"]

    @classmethod
    def chunk(cls, settings: Settings) -> int:
        return settings["length"]

    def room(self) -> str:
        where = "" if self.device.type == "cpu" else f", on {self.device}" if self.on_device else ", with a copy on the device"
        return rows_and_memory(self.capacity, self.bytes) + where

    def __len__(self) -> int:
        """Transitions collected."""
        return self.filled * self.num

    # Writing

    def append(self, rows: Rows) -> None:
        if self.recurrent and not self.filled:
            self.start.copy_(torch.from_numpy(rows.state))
        for name, array in self.arrays.items():
            array[self.filled] = getattr(rows, name)
        self.filled += 1

    def written(self) -> None:
        """The next row of `ticks` has been, in place of `append`."""
        self.filled += 1

    def truncate_episode(self, environment: int) -> bool:
        if self.filled:
            self.stored["ended"][self.filled - 1, environment] = True
        return self.filled > 0

    # Learning

    def updates(self, before: int, after: int) -> Iterator[Batch | Minibatch]:
        """E · N batches at the end of a rollout, fewer if the agent ends them, which is dropped behind the last one. Each pass has all
        of it, in an order of its own."""
        if self.filled < self.length:
            return
        rollout = self.prepared()
        for epoch in range(self.epochs):
            if not self.before_pass(epoch):
                break
            for index in self._sorted() if self.on_device or self.shuffled > LISTED else self._shuffled():
                yield Minibatch(rollout, index, {}) if self.on_device else self.gathered(rollout, index)
        for rows in self.ticks:
            self.observe(Rows(**(rows if self.on_device else {name: row.numpy() for name, row in rows.items()})))
        self.previous, self.filled = self.length, 0

    def batch(self, drawn: Any) -> Batch:
        return self.gathered(drawn.rollout, drawn.index)._replace(noise=drawn.noise) if isinstance(drawn, Minibatch) else drawn

    def intact(self, drawn: Sample) -> bool:
        return not isinstance(drawn, Minibatch) or (drawn.rollout is self.learned and self.filled in (0, self.length))

    def _shuffled(self) -> Iterator[Tensor]:
        """The batches (B,) of a pass, by the shuffle of Fisher and Yates, a part at a time."""
        order, size = list(range(self.shuffled)), self.batch_size
        for start in range(0, self.shuffled, size):
            for place, u in enumerate(self.uniforms.next()["u"].tolist(), start):
                other = place + int(u * (self.shuffled - place))
                order[place], order[other] = order[other], order[place]
            yield torch.tensor(order[start : start + size])

    def _sorted(self) -> Iterator[Tensor]:
        """The same by sorting random numbers, with the place of each in its last bits. `python -m benchmarks.speed.forms sorted`: 6.15 µs a
        step of a loop of PPO with passes of 32,768 transitions, and 8.71 with the shuffle above, a saving of 29 %."""
        numbers = torch.cat([self.uniforms.next()["u"] for _ in range(0, self.shuffled, self.batch_size)])
        bits = self.shuffled.bit_length()
        keys = (numbers * 2.0 ** (62 - bits)).long() << bits | torch.arange(self.shuffled)
        order = (keys.to(self.device) if self.on_device else keys).sort().values
        yield from (order & (1 << bits) - 1).split(self.batch_size)

    def prepared(self) -> Batch:
        """The rollout as a batch with the axis (L · M), of an agent with a core (L, M), and with the columns that the agent prepares."""
        with torch.no_grad():
            whole = self.whole()
            columns = self.prepare(whole)
        if self.recurrent:
            return whole._replace(extra={**whole.extra, **columns})
        columns = {name: column.flatten(-2) for name, column in columns.items()}
        flat = {name: getattr(whole, name).flatten(0, 1) for name in Batch._fields if name not in ("reward", "noise", "extra")}
        extra = {name: column.flatten(0, 1) for name, column in whole.extra.items()}
        reward = whole.reward.flatten(-2)  # channels come first
        found = Batch(**flat, reward=reward, noise={}, extra={**extra, **columns})
        return self._lasting(found) if self.on_device else found

    def _lasting(self, found: Batch) -> Batch:
        """The same numbers in the tensors of the first rollout."""
        if self.learned is None:
            self.learned = found
        else:
            known, fresh = Minibatch(self.learned, found.index, {}).lasting, Minibatch(found, found.index, {}).lasting
            for name, tensor in fresh.items():
                if known[name].data_ptr() != tensor.data_ptr():  # rows are not copied before
                    known[name].copy_(tensor)
            self.learned = self.learned._replace()  # another record, for `intact`
        return self.learned

    def whole(self) -> Batch:
        """The rollout as a batch with the axes (L, M)."""
        stored = {name: tensor.to(self.device) for name, tensor in self.stored.items()}
        ones = torch.ones((self.length, self.num), device=self.device)
        true = ones > 0
        offered = {
            "successor": stored["next_obs"],
            "behavior_probability": stored["probability"],
            "terminated": stored["terminated"],
            "state": self.start.to(self.device, copy=True),
        }
        return Batch(
            stored["obs"], stored["action"], self.rewards(stored["reward"]), self.discount * ~stored["terminated"], stored["next_obs"],
            true.long(), stored["ended"], true, ones, torch.arange(self.capacity).view(self.length, self.num), {},
            {name: column for name, column in offered.items() if name in self.extras},
        )  # fmt: skip

    def gathered(self, whole: Batch, index: Tensor) -> Batch:
        """Transitions (B,) of `prepared`; with a core, environments (B,). Its own fields have the rows first, (L · M, ...), prepared
        columns last, (..., L · M)."""
        place = index.to(self.device)
        if self.recurrent:
            rows = {name: getattr(whole, name)[:, place] for name in Batch._fields if name not in ("reward", "index", "noise", "extra")}
            extra = {name: column.index_select(-1, place) for name, column in whole.extra.items() if name not in self.offers}
            extra |= {name: column[:, place] for name, column in whole.extra.items() if name in self.offers - {"state"}}
            extra["state"] = whole.extra["state"][place]
            return Batch(**rows, reward=whole.reward.index_select(-1, place), index=whole.index[:, index], noise={}, extra=extra)
        rows = {name: getattr(whole, name)[place] for name in Batch._fields if name not in ("reward", "index", "noise", "extra")}
        extra = {name: column[place] if name in self.offers else column.index_select(-1, place) for name, column in whole.extra.items()}
        return Batch(**rows, reward=whole.reward.index_select(-1, place), index=index, noise={}, extra=extra)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.length, self.batch_size) if self.recurrent else (self.batch_size,)

    def seen(self) -> tuple[Tensor, Tensor | None]:
        """Raw rewards (R,) of the newest transitions, those of the last rollout among them, and their observations (R, *obs); None for
        images."""
        reward, obs = (self.stored[name][: max(self.filled, self.previous)].flatten(0, 1) for name in ("reward", "obs"))
        return reward, obs if obs.dtype == torch.float32 else None

    # Checkpoints: between two ticks, where nothing is being learned

    def state_dict(self) -> State:
        found = {"filled": self.filled, "rows": {name: tensor[: self.filled].clone() for name, tensor in self.stored.items()}}
        return {**found, "start": self.start.clone()} if self.recurrent else found

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        """
        Raises:
            ValueError: the state belongs to a rollout of another shape.
        """
        filled = int(state["filled"])
        for name, tensor in self.stored.items():
            found = torch.as_tensor(state["rows"][name])
            if not 0 <= filled < self.length or found.shape != (filled, *tensor.shape[1:]) or found.dtype != tensor.dtype:
                raise ValueError(f"the stored rollout has {name} of shape {tuple(found.shape)}, this one {tuple(tensor.shape)}")
            tensor[:filled] = found
        if self.recurrent:
            start = torch.as_tensor(state["start"])
            if start.shape != self.start.shape or not torch.isfinite(start).all():
                raise ValueError(
                    f"the stored rollout has states {tuple(start.shape)}, this one {tuple(self.start.shape)}, or they are not finite"
                )
            self.start.copy_(start)
        require_actions(self.stored["action"][:filled], self.spec.num_actions)
        self.filled = filled

    def restart(self, step: int) -> str:
        self.begun = step
        return f"a whole rollout, replay.length={self.length} ticks"
