"""The ladder of `deeprl_lab.envs.worlds` for agents of deeprl that prefer more than the mean."""

from __future__ import annotations

from dataclasses import dataclass

from deeprl.extend import WithStock
from deeprl_lab.envs.worlds import RiskLadder


@dataclass(frozen=True, kw_only=True)
class StockLadder(WithStock, RiskLadder):
    """The ladder with a stock."""
