"""iS-QL, iterations as heads on one torso (Vincent and others, ICLR 2026, arXiv 2506.04398); docs/algorithms/is_dqn.md.

    y_k = reward + discount · max_a' Q_{k−1}(s', a'), no gradient,     Q_0 = Q̄_0,     L = Σ_k mean (y_k − Q_k(s, a))²,     k = 1 … K

    every T  (shift_period)   Q̄_0 ← Q_1,   Q_k ← Q_{k+1}  k < K:  the only clock

Q̄_0 is one more head on the online torso, which no loss trains, so that there is no target network.
"""

from __future__ import annotations

from torch import Tensor

from deeprl.learning.parts.chains import roll_
from deeprl.learning.parts.target_free import WithoutTargetNetwork
from deeprl.learning.parts.window import Window
from deeprl.learning.values.view import EntriesView, View
from deeprl.types import Batch


class IteratedShared(WithoutTargetNetwork, Window):  # type: ignore[override]
    """The chain of iS-QL: the online stack is Q̄_0, Q_1 … Q_K, and its first K entries are the targets of the others. Torsos are not
    `separate`, because Q̄_0 has none of its own."""

    offers = frozenset({"iterations"})
    live = True
    anchors = 1
    torso_rules = ("shared", "shared_hidden")

    def views(self, batch: Batch) -> tuple[View, View]:
        online, target = slice(1, None), slice(-1)  # of K + 1 heads: Q_1 … Q_K, and Q̄_0, Q_1 … Q_{K−1}
        return EntriesView(self.online, batch, "online", online), EntriesView(self.online, batch, "target", target)

    def shift(self) -> None:
        roll_(self.online)  # Q̄_0 ← Q_1,  Q_k ← Q_{k+1}  k < K: entry 0 is Q̄_0

    def of_iterations(self, values: Tensor) -> Tensor:
        return values if self.acting == "uniform_with_target" else values[1:]
