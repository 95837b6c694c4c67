"""No replay: for agents that plan from statistics of their own and keep no transitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from deeprl.choice import Choice
from deeprl.types import Batch, Rows, Spec


class NoReplay(Choice):
    """An empty replay with the interface of `Replay`: rows are dropped, so no update is ever due.

    Args:
        num: M. The others are those of every replay, and unused.
    """

    offers = frozenset({"stream"})
    is_rollout = False
    appends = False
    capacity = 1
    bytes = 0
    reach = 0
    batch_shape: tuple[int, ...] = (0,)

    def __init__(
        self,
        *,
        spec: Spec,
        num: int,
        discount: float,
        rewards: Callable[[Tensor], Tensor],
        needs: frozenset[str] = frozenset(),
        batch_device: str | torch.device = "cpu",
    ):
        self.num = num

    def __len__(self) -> int:
        return 0

    def append(self, rows: Rows) -> None:
        """Drop the rows; `Agent.observe` has them."""

    def cut(self, environment: int) -> None:
        """No episode is stored."""

    def noise(self, block: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"u": torch.empty(block, 0)}

    def batch(self, drawn: Batch) -> Batch:
        return drawn

    def intact(self, drawn: Batch) -> bool:
        return True

    def update_priorities(self, index: Tensor, error: Tensor) -> None:
        """There are none."""

    def seen(self) -> tuple[Tensor, Tensor | None]:
        return torch.zeros(0), None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any], segments: Iterable[dict[str, Tensor]]) -> None:
        """Nothing was stored."""

    def marks(self) -> list[int]:
        return [0] * self.num

    live_from = marks

    def rows(self, since: list[int] | None = None) -> dict[str, Tensor]:
        raise NotImplementedError("no replay, no rows")
