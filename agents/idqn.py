"""Iterated Q-networks (Vincent, Palenicek, Belousov, Peters, D'Eramo, TMLR 2025); docs/algorithms/idqn.md.

    y_k = r + γ (1 − d) max_a' Q̄_{k−1}(s', a'),     L = Σ_k mean (y_k − Q_k(s, a))²,     k = 1 … K

K consecutive Bellman iterations are learned at once from the same samples. Two clocks run in environment steps:

    every D  (sync_period)    Q̄_k ← Q_k      k = 1 … K − 1
    every T  (shift_period)   Q̄_k ← Q_{k+1}  k = 0 … K − 1,   Q_k ← Q_{k+1}  k < K:  the window shifts by one iteration

K = 1 is DQN with target period T, bit for bit.

Two questions have other answers in successors (docs/algorithms/is_dqn.md): who serves Q̄_0, and who serves Q̄_1 … Q̄_{K−1}. In iS-QL (Vincent
et al., ICLR 2026) both are heads on the online torso, and T is the only clock:

    y_k = r + γ (1 − d) max_a' Q_{k−1}(s', a'), no gradient;     every T    Q̄_0 ← Q_1,   Q_k ← Q_{k+1}  k < K
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.parts.acting import Acting
from deeprl.parts.chains import Chain, MakeNetwork, follow_, roll_
from deeprl.types import Batch, NetworkNoise
from deeprl.values.view import EntriesView, View


@dataclass(frozen=True)
class Sources:
    """What gives the values of the targets Q̄_0 … Q̄_{K−1}. Arguments are those of `Iterated`."""

    anchor: str
    follow: str
    torso: str
    sync_period: int | None

    def __post_init__(self):
        one_of(self, anchor=("network", "head"), follow=("copy", "live"), torso=("shared", "shared_hidden", "separate"))
        if self.anchor == "head" and self.follow == "copy":
            raise ValueError("follow must be live with anchor=head, because there is no network for copies")
        if self.anchor == "head" and self.torso == "separate":
            raise ValueError("torso must be shared or shared_hidden with anchor=head, because Q̄_0 has no torso of its own")
        if self.follow == "copy":
            in_range(self, sync_period=(1, None))
        elif self.sync_period is not None:
            raise ValueError(f"sync_period must be null with follow=live, where no copies wait to be renewed, not {self.sync_period!r}")


class Iterated(Chain):
    """The chain of i-QN, and of its successors: iS-QL has `anchor=head follow=live`, Gi-TD starts from `anchor=network follow=live`.

    Args:
        length: K.
        shift_period, sync_period: T and D, environment steps. D is None with `follow=live`.
        anchor: Q̄_0 is a `network` of its own, or a `head` that is not trained, beside Q_1 … Q_K on the online torso.
        follow: Q̄_1 … Q̄_{K−1} are a `copy` of Q_1 … Q_{K−1}, renewed every D, or these themselves, `live`. With a network as the anchor
            live values come from copies that are renewed after every update, which are the same numbers.
        torso: `shared`, as in the authors' Atari runs; `shared_hidden`, the hidden layers of the head too, so that Q_k has its own last
            layer alone, and what a head adds (noise, streams, fractions) comes behind them; or `separate` networks.
        acting: network that chooses the greedy action: `uniform`, one of the K online networks, drawn at each step (authors' `main`);
            `uniform_with_target`, the same with Q̄_0 added (their Atari branch); `first`; `last`; `mean` of the values; or `episode` (drawn
            once per episode).
        head_reduction: `sum` of the K losses, or their `mean` (the authors' Atari branch; with Adam the mean equals the sum with ε
            multiplied by K).
    """

    offers = frozenset({"iterations"})

    def __init__(
        self,
        make: MakeNetwork,
        *,
        length: int = 5,
        shift_period: int = 6000,
        sync_period: int | None = 30,
        anchor: str = "network",
        follow: str = "copy",
        torso: str = "shared",
        acting: str = "uniform",
        head_reduction: str = "sum",
    ):
        self.length, self.shift_period, self.acting, self.head_reduction = length, shift_period, acting, head_reduction
        in_range(self, length=(1, None), shift_period=(1, None))
        one_of(self, acting=Acting.RULES, head_reduction=("sum", "mean"))
        self.sources = Sources(anchor, follow, torso, sync_period)
        self.live = follow == "live"
        make = partial(make, trunk=True) if torso == "shared_hidden" else make
        super().__init__(make, length=length, torsos=length if torso == "separate" else 1, anchors=int(anchor == "head"), acting=acting)

    @property
    def periods(self) -> Mapping[str, int]:  # type: ignore[override]
        sync = self.sources.sync_period
        return {"shift": self.shift_period} | ({} if sync is None else {"sync": sync})

    def make_target(self, make: MakeNetwork) -> None:
        if self.anchors:
            object.__setattr__(self, "target", self.online)  # not as a second submodule, which a checkpoint would hold too
        else:
            super().make_target(make)

    def reset_target(self) -> None:
        if not self.anchors:
            super().reset_target()
            if self.live:
                follow_(self.target, self.online)

    def views(self, batch: Batch) -> tuple[View, View]:
        if not self.anchors:
            return super().views(batch)
        online, target = slice(1, None), slice(-1)  # of K + 1 heads: Q_1 … Q_K, and Q̄_0, Q_1 … Q_{K−1}
        return EntriesView(self.online, batch, "online", online), EntriesView(self.online, batch, "target", target)

    def shift(self) -> None:
        """Move the window by one iteration. The order matters: the first line reads Q_1 before the second overwrites it, and the third
        copies what the second has moved."""
        if self.anchors:
            roll_(self.online)  # Q̄_0 ← Q_1,  Q_k ← Q_{k+1}  k < K: entry 0 is Q̄_0
            return
        self.move_anchor()  # Q̄_0 ← Q_1
        roll_(self.online)  # Q_k ← Q_{k+1}  k < K
        follow_(self.target, self.online)  # Q̄_k ← Q_k  k = 1 … K − 1, which are the former Q_{k+1}

    def starts_iteration(self, ended: Collection[str], updates: int) -> bool:
        # updates > 0, because a shift of untrained weights would copy Q_K over its predecessors; see also `Clock.with_updates`
        return updates > 0 and "shift" in ended

    def after_update(self, due: tuple[str, ...], target_updates: int) -> None:
        if self.live and not self.anchors:
            follow_(self.target, self.online)

    def on_period(self, ended: Collection[str], updates: int) -> None:
        if self.starts_iteration(ended, updates):
            self.shift()
        elif updates and "sync" in ended:
            follow_(self.target, self.online)

    def combine(self, losses: Tensor) -> Tensor:
        return losses.sum() if self.head_reduction == "sum" else losses.mean()

    def acting_values(self, obs: Tensor, noise: NetworkNoise) -> Tensor:
        """Values of the networks that may act, (K or K + 1, M, A)."""
        values = self.online(obs, noise).mean()
        if self.acting != "uniform_with_target":
            return values[self.anchors :]
        return values if self.anchors else torch.cat([self.target(obs, noise).mean()[:1], values])
