"""Rollouts: L ticks of M environments, learned from in E passes, then dropped.

The policy is constant while a rollout is collected. At its end the agent prepares what its losses need of the whole rollout, such as
returns, once. Then each pass (*epoch*) draws every transition exactly once, in N batches of L · M / N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from deeprl.choice import Choice, counts, in_range
from deeprl.replay.ring import require_actions
from deeprl.types import Batch, Rows, Spec

Prepare = Callable[[Batch], dict[str, Tensor]]
"""See `Agent.prepare`"""


class Rollout(Choice):
    """Storage of one rollout, with the interface of `Replay`.

    Args:
        length: L, ticks.
        epochs: E, passes over a rollout.
        minibatches: N, updates of a pass.
        spec, num, discount, rewards, needs, batch_device: as in `Replay`.

    Raises:
        ValueError: a value is out of range, or L · M is no multiple of N.
    """

    offers = frozenset({"rollout", "successor", "behavior_probability", "terminated"})
    is_rollout = True
    """Whether all updates on the stored rows come together, after `begin`"""
    appends = False
    """Whether rows are written ahead of a checkpoint, because they stay. A rollout is part of each checkpoint."""

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
    ):
        self.length, self.epochs, self.minibatches, self.num = length, epochs, minibatches, num
        counts(self, length=1, epochs=1, minibatches=1, num=1)
        self.spec, self.discount, self.rewards, self.extras, self.device = spec, discount, rewards, needs, torch.device(batch_device)
        in_range(self, discount=(0, 1))
        self.capacity = length * num
        if self.capacity % minibatches:
            raise ValueError(
                f"minibatches must divide the {length} · {num} transitions of a rollout, not be {minibatches}: change it, length or env.num"
            )
        self.batch_size = self.capacity // minibatches
        shape, lead = tuple(spec.obs_shape), (length, num)
        self.stored = {
            "obs": torch.zeros((*lead, *shape), dtype=spec.obs_dtype),
            "next_obs": torch.zeros((*lead, *shape), dtype=spec.obs_dtype),
            "action": torch.zeros((*lead, spec.action_dim)) if spec.action_dim else torch.zeros(lead, dtype=torch.int64),
            "reward": torch.zeros(lead),
            "terminated": torch.zeros(lead, dtype=torch.bool),
            "ended": torch.zeros(lead, dtype=torch.bool),
            "probability": torch.zeros(lead),
        }
        self.arrays = {name: tensor.numpy() for name, tensor in self.stored.items()}
        self.bytes = sum(tensor.numel() * tensor.element_size() for tensor in self.stored.values())
        self.filled = 0
        """Ticks collected"""
        self.previous = 0
        """Ticks of the last rollout"""
        self.reach = 0
        """Rows that a transition needs ahead of it"""
        self.rollout: Batch | None = None
        """The whole rollout while it is learned from, with the axes (L · M)"""
        self.order: list[int] = []
        self.drawn = 0
        """Transitions drawn in this pass"""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Batch axes *B."""
        return (self.batch_size,)

    @property
    def due(self) -> int:
        """Updates that are due now: E · N at the end of a rollout, else 0."""
        return self.epochs * self.minibatches if self.filled == self.length else 0

    def __len__(self) -> int:
        """Transitions collected."""
        return self.filled * self.num

    # Writing

    def append(self, rows: Rows) -> None:
        """Store one tick of M environments."""
        for name, array in self.arrays.items():
            array[self.filled] = getattr(rows, name)
        self.filled += 1

    def cut(self, environment: int) -> None:
        """Mark the running episode of an environment as truncated at its newest row, because it cannot be continued."""
        if self.filled:
            self.arrays["ended"][self.filled - 1, environment] = True

    def update_priorities(self, index: Tensor, error: Tensor) -> None:
        """There are none."""

    # Learning

    def begin(self, prepare: Prepare) -> None:
        """Start learning from a full rollout."""
        with torch.no_grad():
            whole = self.whole()
            prepared = {name: column.flatten(-2) for name, column in prepare(whole).items()}
        flat = {name: getattr(whole, name).flatten(0, 1) for name in Batch._fields if name not in ("reward", "noise", "extra")}
        extra = {name: column.flatten(0, 1) for name, column in whole.extra.items()}
        reward = whole.reward.flatten(-2)  # channels come first
        self.rollout = Batch(**flat, reward=reward, noise={}, extra={**extra, **prepared})
        self.drawn = 0

    def whole(self) -> Batch:
        """The rollout as a batch with the axes (L, M)."""
        stored = {name: tensor.to(self.device) for name, tensor in self.stored.items()}
        ones = torch.ones((self.length, self.num), device=self.device)
        true = ones > 0
        offered = {"successor": stored["next_obs"], "behavior_probability": stored["probability"], "terminated": stored["terminated"]}
        return Batch(
            stored["obs"], stored["action"], self.rewards(stored["reward"]), self.discount * ~stored["terminated"], stored["next_obs"],
            true.long(), stored["ended"], true, ones, torch.arange(self.capacity).view(self.length, self.num), {},
            {name: column for name, column in offered.items() if name in self.extras},
        )  # fmt: skip

    def end(self) -> Iterator[Rows]:
        """Drop the rollout. Yields its ticks, for statistics that must not change before."""
        for tick in range(self.filled):
            yield Rows(**{name: array[tick] for name, array in self.arrays.items()})
        self.rollout, self.previous, self.filled = None, self.filled, 0

    def noise(self, block: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Uniform numbers for `block` batches: {"u": (block, B)} float64."""
        return {"u": torch.rand(block, self.batch_size, generator=generator, dtype=torch.float64)}

    def draw(self, u: Tensor, step: int | None = None) -> Batch:
        """The next B transitions of this pass, drawn without replacement (the shuffle of Fisher and Yates, a part at a time).

        Args:
            u: (B,) float64 in [0, 1), on the CPU.
        """
        assert self.rollout is not None, "a rollout is drawn from before `begin`"
        if self.drawn % self.capacity == 0:
            self.order, self.drawn = list(range(self.capacity)), 0
        start = self.drawn
        for place, x in enumerate(u.tolist(), start):
            other = place + int(x * (self.capacity - place))
            self.order[place], self.order[other] = self.order[other], self.order[place]
        self.drawn += self.batch_size
        return self.gathered(torch.tensor(self.order[start : self.drawn]))

    def gathered(self, index: Tensor) -> Batch:
        """Transitions (B,) of the rollout. Its own fields have the rows first, (L · M, ...), prepared columns last, (..., L · M)."""
        whole, place = self.rollout, index.to(self.device)
        assert whole is not None
        rows = {name: getattr(whole, name)[place] for name in Batch._fields if name not in ("reward", "index", "noise", "extra")}
        extra = {name: column[place] if name in self.offers else column.index_select(-1, place) for name, column in whole.extra.items()}
        return Batch(**rows, reward=whole.reward.index_select(-1, place), index=index, noise={}, extra=extra)

    def batch(self, drawn: Batch) -> Batch:
        """A draw is a batch already."""
        return drawn

    def intact(self, drawn: Batch) -> bool:
        """A draw has memory of its own."""
        return True

    def seen(self) -> tuple[Tensor, Tensor | None]:
        """Raw rewards (R,) of the newest transitions, those of the last rollout among them, and their observations (R, *obs); None for
        images."""
        reward, obs = (self.stored[name][: max(self.filled, self.previous)].flatten(0, 1) for name in ("reward", "obs"))
        return reward, obs if obs.dtype == torch.float32 else None

    # Checkpoints: between two ticks, where nothing is being learned

    def state_dict(self) -> dict[str, Any]:
        return {"filled": self.filled, "rows": {name: tensor[: self.filled].clone() for name, tensor in self.stored.items()}}

    def load(self, state: dict[str, Any], segments: Iterable[dict[str, Tensor]]) -> None:
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
        require_actions(self.stored["action"][:filled], self.spec.num_actions)
        self.filled = filled

    def marks(self) -> list[int]:
        return [0] * self.num

    def live_from(self) -> list[int]:
        return [0] * self.num

    def rows(self, since: list[int] | None = None) -> dict[str, Tensor]:
        raise NotImplementedError("rows of a rollout are part of its state")
