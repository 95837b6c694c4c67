"""A head for returns between known bounds, and its log-loss: FQI-LOG (docs/algorithms/bounded.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from deeprl.choice import Part, in_range, numbers, one_of
from deeprl.learning.networks.heads import HeadChoice, Streams
from deeprl.learning.networks.layers import Init
from deeprl.learning.transforms.rewards import Clip
from deeprl.learning.values.scalar import BoundedValues
from deeprl.types import NetworkNoise

EDGE = 0.01
"""Least distance of a bounded head's first predictions from the ends of its range, as a share of the range (0.01 is ours)."""


@dataclass(frozen=True)
class Bounded(HeadChoice):
    """One value for each action between known bounds, through a sigmoid (FQI-LOG: Ayoub et al., 2024). The paper is offline, with costs in
    [0, 1]; the online form with rewards is ours.

    Returns of rewards in [r₀, r₁] lie in [r₀, r₁] / (1 − γ). `reward` contains zero, because rewards after the end of an episode are zero.
    `check` refuses `agent/rewards=clip` if its bound is above the largest end of `reward`, or of `low` and `high`; the user sets an end at
    0 for a game without rewards of that sign. Targets beyond the bounds are cut off, and their share is logged as `train/clamped_targets`.

    Args:
        loss: `log`, or `squared` of the same sigmoid model, the paper's baseline.
        low, high: range of the task's returns; null: the range that follows from `reward` and `discount`.
        reward: range of the learned rewards, for `low` or `high` that is null.
        discount: γ, a configuration value, `${discount}`.
    """

    loss: str = "log"
    low: float | None = None
    high: float | None = None
    reward: tuple[float, float] = (-1.0, 1.0)
    discount: float = 0.99

    def __post_init__(self):
        super().__post_init__()
        one_of(self, loss=("log", "squared"))
        in_range(self, discount=(0, 1))
        low, high = numbers(self, "reward", 2)
        if not low <= 0 <= high:
            raise ValueError(f"reward must be two numbers, the lower one at most 0 and the upper one at least 0, not {list(self.reward)}")
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                in_range(self, **{name: (None, None)})
        if self.discount == 1 and None in (self.low, self.high):
            name = "low" if self.low is None else "high"
            raise ValueError(f"{name} must be given where the discount is 1: no bound follows from rewards. Set it to the task's returns")
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"high must be above low, both finite, not {high} and {low}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of returns: `low` and `high`, or from `reward`."""
        low, high = (float(given) if given is not None else end / (1.0 - self.discount) for given, end in self._ends())
        return low, high

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        return super().offers | {"scalar"}

    def _ends(self) -> tuple[tuple[float | None, float], tuple[float | None, float]]:
        return (self.low, self.reward[0]), (self.high, self.reward[1])

    def check(self, rewards: Part) -> None:
        passed = rewards.bound if isinstance(rewards, Clip) else None
        covered = max(abs(end if given is None else given) for given, end in self._ends())
        if passed is not None and passed > covered:
            raise ValueError(
                f"head has bounds made for rewards up to {covered:g}, and agent/rewards=clip lets {passed:g} pass: set agent.head.reward"
            )

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        return BoundedHead(self, features, hidden, actions, n, init)


class BoundedHead(Streams):
    def __init__(self, choice: Bounded, features: int, hidden: Sequence[int], actions: int, n: int, init: str):
        super().__init__(choice, features, hidden, (actions, 1), n, init)
        self.low, self.high = choice.bounds
        self.distance = choice.loss
        # The head starts at a return of zero, or next to the end of the range that is nearest to zero, because a logit of zero is the
        # middle of the range, far above the returns of sparse rewards.
        start = min(max((0.0 - self.low) / (self.high - self.low), EDGE), 1.0 - EDGE)
        last = self.value if self.dueling else self.advantage
        last.initial[f"bias_{last.depth - 1}"] = Init("constant", value=math.log(start / (1.0 - start)))

    def forward(self, features: Tensor, noise: NetworkNoise) -> BoundedValues:
        return BoundedValues(self.streams(features, noise).squeeze(-1), self.low, self.high, self.distance, features)
