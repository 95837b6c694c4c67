"""Chains that learn a window of K Bellman iterations at once, and move it by one iteration at a time (Vincent and others, TMLR 2025)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.parts.acting import Acting
from deeprl.learning.parts.chains import Chain, MakeNetwork, Worth, follow_, roll_
from deeprl.learning.values.returns import expected
from deeprl.types import NetworkNoise

MOST = 256
"""Largest K. Papers have up to 20."""


class Window(Chain):
    """Q_1 … Q_K, trained on Q̄_0 … Q̄_{K−1}. Every T steps the window moves: Q_k takes the place of Q_{k−1}.

    A subclass decides what Q̄_1 … Q̄_{K−1} are between two shifts.

    Args:
        length: K.
        shift_period: T, environment steps.
        torso: `shared`, as in the authors' Atari runs; `shared_hidden`, the hidden layers of the head too, so that Q_k has its own last
            layer alone, and what a head adds (noise, streams, fractions) comes behind them; or `separate` networks.
        acting: network that chooses the greedy action: `uniform`, one of the K online networks, drawn at each step (authors' `main`);
            `uniform_with_target`, the same with Q̄_0 added (their Atari branch); `first`; `last`; `mean` of the values; or `episode` (drawn
            once per episode).
        head_reduction: `sum` of the K losses, or their `mean` (the authors' Atari branch; with Adam the mean equals the sum with ε
            multiplied by K).
    """

    torso_rules: ClassVar[tuple[str, ...]] = ("shared", "shared_hidden", "separate")
    """What `torso` may be"""

    def __init__(
        self,
        make: MakeNetwork,
        *,
        length: int = 5,
        shift_period: int = 6000,
        torso: str = "shared_hidden",
        acting: str = "uniform",
        head_reduction: str = "sum",
    ):
        self.length, self.shift_period, self.torso, self.acting, self.head_reduction = length, shift_period, torso, acting, head_reduction
        in_range(self, length=(1, None), shift_period=(1, None))
        if length > MOST:
            raise ValueError(f"length must be at most {MOST:,}, not {length:,}")
        one_of(self, torso=self.torso_rules, acting=Acting.RULES, head_reduction=("sum", "mean"))
        make = partial(make, trunk=True) if torso == "shared_hidden" else make
        super().__init__(make, length=length, torsos=length if torso == "separate" else 1, acting=acting)

    @property
    def periods(self) -> Mapping[str, int]:  # type: ignore[override]
        return {"shift": self.shift_period}

    def shift(self) -> None:
        """Move the window by one iteration. The order matters: the first line reads Q_1 before the second overwrites it, and the third
        copies what the second has moved."""
        self.move_anchor()  # Q̄_0 ← Q_1
        roll_(self.online)  # Q_k ← Q_{k+1}  k < K
        follow_(self.target, self.online)  # Q̄_k ← Q_k  k = 1 … K − 1, which are the former Q_{k+1}

    def starts_iteration(self, ended: Collection[str], updates: int) -> bool:
        # updates > 0, because a shift of untrained weights would copy Q_K over its predecessors; see also `Clock.with_updates`
        return updates > 0 and "shift" in ended

    def on_period(self, ended: Collection[str], updates: int) -> None:
        if self.starts_iteration(ended, updates):
            self.shift()

    def combine(self, losses: Tensor) -> Tensor:
        return losses.sum() if self.head_reduction == "sum" else losses.mean()

    def acting_values(self, obs: Tensor, noise: NetworkNoise, worth: Worth = expected) -> Tensor:
        """Values of the networks that may act, (K or K + 1, M, A)."""
        values = super().acting_values(obs, noise, worth)
        if self.anchors or self.acting != "uniform_with_target":  # an anchor is Q̄_0
            return values
        return torch.cat([worth(self.target(obs, noise))[:1], values])
