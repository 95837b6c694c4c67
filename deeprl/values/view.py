"""One network at both ends of a batch."""

from __future__ import annotations

from torch import nn

from deeprl.types import Batch, ViewNoise
from deeprl.values.returns import Values


class View:
    """One network at both ends of a batch. `now` and `next` are evaluated at their first use, at most once."""

    def __init__(self, network: nn.Module, batch: Batch, side: str):
        self.network, self.batch, self.noise = network, batch, batch.noise.get(side, ViewNoise())
        self._now: Values | None = None
        self._next: Values | None = None

    # no cached_property: up to Python 3.11 it takes a lock, which torch.compile cannot trace

    @property
    def now(self) -> Values:
        if self._now is None:
            self._now = self.network(self.batch.obs, self.noise.now)
        return self._now

    @property
    def next(self) -> Values:
        if self._next is None:
            self._next = self.network(self.batch.next_obs, self.noise.next)
        return self._next
