"""Hindsight experience replay (Andrychowicz et al., 2017): transitions of a batch with a goal that was achieved later in their episode.

    g' = achieved(s_{t'+1})        r' = reward(achieved(s_{t+1}), g')
    future: t' uniform in t … T − 1       final: t' = T − 1       episode: t' uniform in 0 … T − 1

Goals are relabelled in the copies of a draw, so that each draw of a transition has another goal, and the stored rows stay as they were
played. T is the length of the episode; a running episode is used up to its newest row, and one whose first rows are overwritten from its
oldest stored row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.replay.gather import Drawn
from deeprl.replay.replay import Replay, in_main_memory
from deeprl.types import Batch, Goals, Rows, State


class Spans:
    """The episodes of the live transitions of M environments.

    Args:
        ticks: live transitions of each environment, at most.
    """

    def __init__(self, ticks: int, num: int):
        self.first = np.zeros((ticks, num), np.int64)
        """Tick at which the episode of a transition began"""
        self.last = np.zeros((ticks, num), np.int64)
        """Tick at which it ended; -1 while it goes on"""
        self.began = np.zeros(num, np.int64)
        """Of the running episodes"""

    def append(self, tick: int, ended: np.ndarray) -> None:
        """
        Args:
            ended: (M,) bool, whether the episodes end with this transition.
        """
        place = tick % len(self.first)
        self.first[place], self.last[place] = self.began, -1
        for e in np.flatnonzero(ended).tolist():
            self.end(tick, e)

    def end(self, tick: int, environment: int) -> None:
        """The running episode of an environment ended at `tick`."""
        stored = max(int(self.began[environment]), tick - len(self.last) + 1)
        self.last[np.arange(stored, tick + 1) % len(self.last), environment] = tick
        self.began[environment] = tick + 1


class Hindsight(Replay):
    """
    Args:
        goals: of the environment.
        strategy: which goal of the episode is taken, see above.
        share: of each batch, rounded to whole transitions, that has another goal; 0.8 is the paper's k = 4. 0 is plain replay, bit for bit.
        others: as in `Replay`. The rows are in main memory.

    Raises:
        ValueError: as in `Replay`; n_step is not 1, or observations are images.
    """

    offers = Replay.offers - {"restart"}
    relabels = True
    hands_on: ClassVar = Replay

    def __init__(self, *, goals: Goals | None = None, strategy: str = "future", share: float = 0.8, device: str = "auto", **others):
        super().__init__(device=in_main_memory(device, "goals that are exchanged in main memory"), **others)
        self.strategy, self.share = strategy, share
        one_of(self, strategy=("future", "final", "episode"))
        in_range(self, share=(0, 1))
        if self.n_step != 1:
            raise ValueError(f"n_step must be 1, not {self.n_step}, because an exchanged goal changes one reward")
        if len(self.spec.obs_shape) != 1:
            raise ValueError(f"its observations {self.spec.obs_shape} are images, in which no goal can be exchanged")
        if self.spec.parts:
            raise ValueError(
                "the parts of its observations are kept apart, and goals are exchanged in one vector: set env.parts=flat, which "
                "environments of Gymnasium take"
            )
        self.goals, self.exchanged = goals, round(share * self.batch_size)
        if share and not self.exchanged:
            raise ValueError(f"share={share} of batch_size={self.batch_size} exchanges no goal: choose a larger one, or share=0")
        self.spans = Spans(self.layout.ticks, self.num)

    def noise(self, block: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = super().noise(block, generator)  # first, so that transitions are those of plain replay
        return {**chosen, "later": torch.rand(block, self.batch_size, generator=generator, dtype=torch.float64)}

    def append(self, rows: Rows) -> None:
        super().append(rows)
        self.spans.append(self.ring.last - 1, rows.ended)

    def truncate_episode(self, environment: int) -> bool:
        if self.spans.began[environment] < self.ring.last:
            self.spans.end(self.ring.last - 1, environment)
        return super().truncate_episode(environment)

    def sample(self, noise: Mapping[str, Tensor], step: int) -> Drawn | Batch:
        return self.draw(noise["u"], step, partial(self.exchange, later=noise["later"].numpy()))

    def exchange(self, copies: Tensor, index: Tensor, later: np.ndarray) -> None:
        """Relabel the first transitions of a draw, an `Edit`: other goals, and the rewards of these goals.

        Args:
            copies: (B, ·) of rows, each with the observation that follows it.
            index: (B,) numbers of the transitions.
            later: (B,) uniform in [0, 1): the choice of t' for the present draw
        """
        count = self.exchanged
        if not count:
            return
        assert self.goals is not None
        at, rows, (achieved, desired, reward, terminated) = self.layout, copies.numpy()[:count], self.goals
        after = rows[:, at.width :]
        goal = self.ring.rows[self.achieving(index.numpy()[:count], later[:count])][:, achieved]
        met = after[:, achieved].copy()  # copies for each call, as the functions of an environment may work in place
        if terminated is not None:
            ends = np.flatnonzero(rows[:, at.continues] == 0)
            if len(ends):  # one that its own goal does not explain, such as a fall, is one for every goal
                ends = ends[~terminated(met[ends], rows[ends, : at.size][:, desired])]
            rows[:, at.continues] = ~terminated(met.copy(), goal.copy())
            rows[ends, at.continues] = 0.0
        rows[:, : at.size][:, desired] = after[:, desired] = goal
        rows[:, at.reward] = reward(met, goal.copy())

    def achieving(self, number: np.ndarray, u: np.ndarray) -> np.ndarray:
        """(B,) places of the rows whose observation has achieved the goal for the transitions of these numbers.

        Args:
            u: (B,) in [0, 1).
        """
        tick, environment = np.divmod(number, self.num)
        place = tick % self.layout.ticks
        last = self.spans.last[place, environment]
        last = np.where(last < 0, self.ring.last - 1, last)
        first = np.maximum(self.spans.first[place, environment], self.ring.first) if self.strategy == "episode" else tick
        chosen = last if self.strategy == "final" else first + (u * (last - first + 1)).astype(np.int64)
        return self.ring.slots[chosen % self.layout.ticks, environment] + 1

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        super().load(state, segments)
        ring = self.ring
        self.spans.began[:] = ring.first
        for tick in range(ring.first, ring.last):
            self.spans.append(tick, ring.rows[ring.slots[tick % self.layout.ticks], self.layout.ended] > 0)
