"""Numbers that change over a run. A schedule is called with an environment step; durations are in environment steps."""

from __future__ import annotations

from dataclasses import dataclass

from deeprl.choice import Choice, in_range


@dataclass(frozen=True)
class Constant(Choice):
    value: float = 1.0

    def __post_init__(self):
        in_range(self, value=(None, None))

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class Linear(Choice):
    """`start` until step `begin`, then a straight line that reaches `end` after `duration` steps and stays there."""

    start: float
    end: float
    duration: int
    begin: int = 0

    def __post_init__(self):
        in_range(self, start=(None, None), end=(None, None), duration=(1, None), begin=(0, None))

    def __call__(self, step: int) -> float:
        done = min(max((step - self.begin) / self.duration, 0.0), 1.0)
        return (1.0 - done) * self.start + done * self.end  # exact at both ends


def crossed(period: int, before: int, after: int) -> bool:
    """Whether a multiple of `period` lies in (before, after]: copes with several environments and missed multiples."""
    return after // period > before // period
