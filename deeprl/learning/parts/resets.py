"""Resets: updates after which an agent starts anew with other initial weights and keeps its replay (Nikishin and others, 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from deeprl.choice import Choice, counts
from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.weight_norm import measure_gains_


@dataclass(frozen=True)
class Resets(Choice):
    """Updates at which resets are due: a function of the counter, hence exact in a run that resumes. The default is never.

    Args:
        period: a reset after every multiple of it; None: none.
        at: chosen updates, in rising order (BRO: Nauman and others, 2024). They count with those of `period`.
    """

    period: int | None = None
    at: tuple[int, ...] = ()

    def __post_init__(self):
        if self.period is not None:
            counts(self, period=1)
        at: object = self.at  # a list, as YAML gives it
        if not (isinstance(at, (list, tuple)) and all(type(update) is int and update > 0 for update in at) and list(at) == sorted(set(at))):
            raise ValueError(f"at must be a list of positive whole numbers in rising order, such as [15000, 50000], not {self.at!r}")
        object.__setattr__(self, "at", tuple(at))

    def number(self, updates: int) -> int | None:
        """The reset due after update `updates`, counted from 1; None if none is due."""
        period = self.period or 0
        if not (updates in self.at or (period and updates % period == 0)):
            return None
        chosen = [update for update in self.at if update <= updates and not (period and update % period == 0)]
        return len(chosen) + (updates // period if period else 0)


@torch.no_grad()
def renew_(module: nn.Module, seed: int, number: int, place: str) -> None:
    """Give a module other initial weights, those of a reset.

    Args:
        number: of the reset, see `Resets.number`.
        place: see `initialise`.
    """
    initialise(module, seed, f"reset {number}.{place}")
    measure_gains_(module)
