"""Episodes of stored transitions, whatever they come from, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from deeprl.running.collect.stored import Stored
from deeprl.types import Rows, Spec


class StoredEpisode(NamedTuple):
    rows: Rows
    """Of T steps, in their order"""
    whole: bool
    """Whether its first step is there: not of the oldest episode where rows before it are gone"""

    @property
    def terminated(self) -> bool:
        return bool(self.rows.terminated[-1])

    @property
    def open(self) -> bool:
        """Whether it goes on behind its last step"""
        return not self.rows.ended[-1]


def read(data: str, spec: Spec) -> Stored:
    """The transitions of a run folder or a data set. Errors are those of `Stored`."""
    return Stored(data=data, batch_size=1, device="cpu", spec=spec, num=1, discount=1.0)


def episodes(stored: Stored) -> Iterator[StoredEpisode]:
    """All episodes, environment by environment."""
    live = np.arange(stored.live.first, stored.live.last)
    for environment in range(stored.num):
        rows = stored.transitions(live[live % stored.num == environment])
        began = stored.from_start
        for cut in np.split(np.arange(len(rows.reward)), np.flatnonzero(rows.ended) + 1):
            if len(cut):
                yield StoredEpisode(Rows(*(part[cut] for part in rows[:-1])), began)
                began = True


def told(found: Sequence[StoredEpisode]) -> list[str]:
    """Lines on the episodes: how many, how they end, what is missing, returns and lengths of those that are whole."""
    steps = sum(len(each.rows.reward) for each in found)
    closed = [each for each in found if each.whole and not each.open]
    lines = [f"{steps:,} transitions in {len(found):,} episodes"]
    ends = sum(each.terminated for each in found), sum(not each.open and not each.terminated for each in found)
    lines.append(f"{ends[0]:,} end with a termination, {ends[1]:,} with a truncation")
    if missing := len(found) - len(closed):
        lines.append(f"{missing:,} are not whole: their first steps are gone, or they go on")
    if lives := sum(int((each.rows.terminated & ~each.rows.ended).sum()) for each in found):
        lines.append(f"{lives:,} terminations without an end of the episode, such as lost lives")
    for name, values in (("return", [each.rows.reward.sum() for each in closed]), ("length", [len(each.rows.reward) for each in closed])):
        if values:
            lines.append(f"{name} {np.mean(values):.2f} on average, {np.min(values):.2f} to {np.max(values):.2f}")
    return lines
