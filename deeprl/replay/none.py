"""No replay: for agents that plan from statistics of their own and keep no transitions."""

from __future__ import annotations

from deeprl.replay.source import Source


class NoReplay(Source):
    """An empty source: the agent observes the rows, and none is kept.

    Args:
        num: M. The others are those of every source, and unused.
    """

    offers = frozenset({"stream"})

    def __init__(self, *, num: int, **others):
        self.num = num
