"""The stock in observations: what an episode has collected so far, discounted so that it adds to the return that is left.

    c_{t+1} = (c_t + r_t) / γ,    hence    c_0 + Σ_{k≥0} γ^k r_k = γ^t (c_t + Z_t)

Environments with a stock show (c_t, c_0, γ^(−t)), see `deeprl.envs.stock`. Dynamics do not depend on it, so that an episode is as good a
sample of any other first stock c̃_0: c̃_t = c_t + γ^(−t) (c̃_0 − c_0). Networks see sign(c) ln(1 + |c|) alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from deeprl.learning.transforms.masks import OBSERVATIONS
from deeprl.types import Batch, Rows, Spec


class Stock(NamedTuple):
    """Where the stock is in an observation without its mask."""

    at: int
    """Column of c_t, in front of those of c_0 and of its growth"""

    def begun(self, obs: Tensor, start: Tensor) -> Tensor:
        """Observations (..., W) as if the episodes had begun with other stocks (...)."""
        stock = obs[..., self.at : self.at + 3]
        now, first, growth = stock.unbind(-1)
        other = torch.stack([now + growth * (start - first), start, growth], -1)
        return torch.cat([obs[..., : self.at], other, obs[..., self.at + 3 :]], -1)

    def read(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Observations as networks see them, (..., W), and stocks (...)."""
        now = obs[..., self.at]
        seen = torch.stack([now.sign() * now.abs().log1p(), torch.zeros_like(now), torch.zeros_like(now)], -1)
        return torch.cat([obs[..., : self.at], seen, obs[..., self.at + 3 :]], -1), now

    def of_rows(self, rows: Rows) -> Rows:
        """Rows of environments with observations (M, W) as networks see them, arrays or tensors."""
        given: tuple[Any, Any] = rows.obs, rows.next_obs
        seen = [self.read(torch.as_tensor(each))[0] for each in given]
        ends: list[Any] = [end if isinstance(each, Tensor) else end.numpy() for each, end in zip(given, seen)]
        return rows._replace(obs=ends[0], next_obs=ends[1])

    def divided(self, batch: Batch, edited: tuple[Tensor, Tensor] | None) -> Batch:
        """The batch with the stocks of both ends in `extra`, "stock" and "next_stock".

        Args:
            edited: see `Utility.edited`.
        """
        ends = {"obs": batch.obs, "next_obs": batch.next_obs}
        ends |= {name: batch.extra[name] for name in OBSERVATIONS & batch.extra.keys()}
        if edited is not None:  # of transitions, which have no burn-in, because a core does not go with it
            start, where = edited
            ends = {name: torch.where(where.unsqueeze(-1), self.begun(each, start), each) for name, each in ends.items()}
        (obs, now), (next_obs, later) = self.read(ends.pop("obs")), self.read(ends.pop("next_obs"))
        extra = {**batch.extra, **{name: self.read(each)[0] for name, each in ends.items()}, "stock": now, "next_stock": later}
        return batch._replace(obs=obs, next_obs=next_obs, extra=extra)


def stock_of(spec: Spec) -> Stock | None:
    """Where observations hold the stock; None: they have none."""
    at = 0
    for part in spec.parts:
        if part.stock and part.shape == (3,):
            return Stock(at)
        at += part.size
    return None
