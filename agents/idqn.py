"""Iterated Q-networks (Vincent, Palenicek, Belousov, Peters, D'Eramo, TMLR 2025); docs/algorithms/idqn.md.

    y_k = reward + discount · max_a' Q̄_{k−1}(s', a'),     L = Σ_k mean (y_k − Q_k(s, a))²,     k = 1 … K

K consecutive Bellman iterations are learned at once from the same samples. Two clocks run in environment steps:

    every D  (sync_period)    Q̄_k ← Q_k      k = 1 … K − 1
    every T  (shift_period)   Q̄_k ← Q_{k+1}  k = 0 … K − 1,   Q_k ← Q_{k+1}  k < K:  the window shifts by one iteration

K = 1 is DQN with target period T, bit for bit. Two successors take targets from other networks: in `deeprl.agents.gi_dqn.IteratedLive`
Q̄_1 … Q̄_{K−1} are the online heads; in `deeprl.agents.is_dqn.IteratedShared` Q̄_0 is a head of the online network too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from deeprl.extend import MakeNetwork, Window, follow_, in_range


class Iterated(Window):
    """The chain of i-QN: Q̄_1 … Q̄_{K−1} are copies of Q_1 … Q_{K−1}, renewed every D.

    Args:
        sync_period: D, environment steps.

    The others are those of `Window`.
    """

    offers = frozenset({"iterations"})
    hands_on: ClassVar = Window

    def __init__(self, make: MakeNetwork, *, sync_period: int = 30, torso: str = "shared", **others):
        self.sync_period = sync_period
        in_range(self, sync_period=(1, None))
        super().__init__(make, torso=torso, **others)

    @property
    def periods(self) -> Mapping[str, int]:  # type: ignore[override]
        return {**super().periods, "sync": self.sync_period}

    def on_period(self, ended: Collection[str], updates: int) -> None:
        if self.starts_iteration(ended, updates):
            self.shift()
        elif updates and "sync" in ended:
            follow_(self.target, self.online)  # Q̄_k ← Q_k  k = 1 … K − 1
