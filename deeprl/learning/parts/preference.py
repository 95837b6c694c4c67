"""What an agent for discrete actions prefers, and the stock on which that may depend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deeprl.choice import Choice, Part
from deeprl.learning.transforms.rewards import Clip, Raw
from deeprl.learning.transforms.stock import stock_of
from deeprl.learning.values.returns import expected
from deeprl.learning.values.utility import Preferred, Utility
from deeprl.learning.values.view import View
from deeprl.types import Batch, Spec

START = "start"
"""Name in the acting memory of the first stock that the policy chose"""


class Preference:
    """
    Args:
        utility: functional of the return by which actions are chosen.
        spec: spaces of the environment.

    Raises:
        ValueError: the utility needs a stock, and observations have none.
    """

    def __init__(self, utility: Utility, spec: Spec):
        self.utility, self.neutral = utility, utility.neutral
        self.stock = stock_of(spec)  # of the neutral utility too, because networks see c alone
        if utility.stocked and self.stock is None:
            raise ValueError(
                f"agent/utility={type(utility).__name__} needs observations with a stock, because what is preferred depends on what was "
                "collected: choose env=gym/stock or env=stock/coins"
            )

    def check(self, backup: Any, rewards: Part, core: Choice, others: tuple[Choice, ...]) -> None:
        """
        Args:
            others: parts that may read values of actions.

        Raises:
            ValueError: a part does not go with this utility.
        """
        if self.neutral:
            return
        name = f"agent/utility={type(self.utility).__name__}"
        if "greedy" not in backup.offers:
            raise ValueError(
                f"{name} needs agent/backup=max or double, not {type(backup).__name__}: targets are returns of the action that it prefers"
            )
        if not (type(rewards) is Raw or (isinstance(rewards, Clip) and rewards.bound is None)):
            raise ValueError(
                f"{name} needs agent/rewards=raw, not {type(rewards).__name__}, because returns in other units are not preferred"
            )
        if self.stock is not None and "state" in core.needs:
            raise ValueError(f"{name} needs agent/core=none: of another stock a core would have had another past")
        for other in others:
            if other.needs & {"actions", "iterations"}:
                raise ValueError(
                    f"{name} does not go with {type(other).__name__}, whose targets are those of expected returns: leave it out"
                )

    def read(self, obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Observations as networks see them, and stocks."""
        return (obs, None) if self.stock is None else self.stock.read(obs)

    def worth(self, stock: Tensor | None) -> Callable[..., Tensor]:
        """Values -> what acts, (K, M, A)."""
        utility = self.utility
        return expected if self.neutral else lambda values: utility(values.returns(), stock)

    def of_batch(self, batch: Batch) -> Batch:
        """The batch as networks see it, with stocks in `extra`."""
        return batch if self.stock is None else self.stock.divided(batch, self.utility.edited(batch.noise))

    def shown(self, view: View) -> View:
        """A view whose means are utilities."""
        if not self.neutral:
            utility = self.utility
            view.preferred = lambda values, stock: Preferred(values, utility, stock)
        return view

    def begun(self, obs: Tensor, first: Tensor, memory: dict, values: Callable[[Tensor], Tensor]) -> tuple[Tensor, dict]:
        """Observations (M, W) as if the episodes had begun with the stocks that the utility chooses, and what is to be remembered.

        Args:
            values: observations (G · M, W) -> worth of actions (G · M, A).
        """
        starts = self.utility.candidates
        if self.stock is None or starts is None:
            return obs, {}
        starts, start = starts.to(obs.device), memory.get(START)
        if start is None or bool(first.any()):
            count = obs.shape[0]
            every = self.stock.begun(obs.repeat(len(starts), 1), starts.repeat_interleave(count))
            best = values(every).amax(-1).unflatten(0, (len(starts), count))
            chosen = starts[self.utility.start(best)]
            start = chosen if start is None else torch.where(first.to(obs.device), chosen, start.to(obs.device))
        return self.stock.begun(obs, start), {START: start}
