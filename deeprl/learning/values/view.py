"""One network at both ends of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from deeprl.learning.values.masked import MaskedValues
from deeprl.learning.values.returns import Values
from deeprl.types import Batch, NetworkNoise, ViewNoise


class Network(Protocol):
    """`deeprl.learning.networks.value_network.ValueNetwork`, which this layer does not import."""

    beside: Any
    core: Any

    def __call__(self, obs: Tensor, noise: NetworkNoise = ...) -> Values: ...

    def features(self, obs: Tensor) -> Tensor: ...

    def unrolled(self, batch: Batch) -> Any: ...

    def values(self, features: Tensor, lead: torch.Size, noise: NetworkNoise) -> Values: ...

    def learned_features(self, *obs: Tensor, noise: NetworkNoise, counted: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]: ...


class View:
    """One network at both ends of a batch. `now` and `next` are evaluated at their first use, at most once.

    The first use also decides whether a value has a gradient. So an agent's loss reads `online.now`, the prediction, before it calls backup
    and weighting, which run without gradient. Where `batch.extra` holds action masks, the means of invalid actions are `INVALID`, see
    `MaskedValues`.

    Attributes:
        statistics: see `Term.statistics`.
        policy: the actor whose actions the critics evaluate, a `deeprl.learning.networks.actors.Actor`; None for discrete actions.
        preferred: values and stocks (*B,) -> values whose means are utilities; None: means are expected returns.
    """

    policy: Any = None
    preferred: Callable[[Any, Tensor | None], Values] | None = None

    def __init__(self, network: Network, batch: Batch, side: str):
        self.network, self.batch, self.noise = network, batch, batch.noise.get(side, ViewNoise())
        self.statistics: dict[str, Tensor] = {}
        self.unrolled = None if getattr(network, "core", None) is None else network.unrolled(batch)
        self._now: Values | None = None
        self._next: Values | None = None

    # no cached_property: up to Python 3.11 it takes a lock, which torch.compile cannot trace

    @property
    def now(self) -> Values:
        if self._now is None:
            self._now = self.shown(self.evaluate_now(), "")
        return self._now

    @property
    def next(self) -> Values:
        if self._next is None:
            self._next = self.shown(self.evaluate_next(), "next_")
        return self._next

    def shown(self, values: Values, end: str) -> Values:
        extra = self.batch.extra
        if self.preferred is not None:
            values = self.preferred(values, extra.get(f"{end}stock"))
        valid = extra.get(f"{end}valid")
        return values if valid is None else MaskedValues(values, valid)

    def evaluate_now(self) -> Values:
        if self.unrolled is not None:  # features of a core, which depend on earlier rows
            return self.network.values(self.unrolled.now, self.batch.discount.shape, self.noise.now)
        return self.network(self.batch.obs, self.noise.now)

    def evaluate_next(self) -> Values:
        if self.unrolled is not None:
            return self.network.values(self.unrolled.next(), self.batch.discount.shape, self.noise.next)
        return self.network(self.batch.next_obs, self.noise.next)


class EntriesView(View):
    """A view of some heads of a network.

    Args:
        entries: of the stack axis.
    """

    def __init__(self, network: Network, batch: Batch, side: str, entries: slice):
        super().__init__(network, batch, side)
        self.entries = entries

    def evaluate_now(self) -> Values:
        return super().evaluate_now().entries(self.entries)

    def evaluate_next(self) -> Values:
        return super().evaluate_next().entries(self.entries)


class FeatureView(View):
    """A view of features that were computed before.

    Args:
        now, next: features of both ends, (torsos, B, F) with the axes *B flattened.
        statistics: see `Term.statistics`.
    """

    def __init__(self, network: Network, batch: Batch, side: str, now: Tensor, next: Tensor, statistics: dict[str, Tensor]):
        super().__init__(network, batch, side)
        self.features, self.lead, self.statistics = (now, next), batch.discount.shape, statistics

    def evaluate_now(self) -> Values:
        return self.network.values(self.features[0], self.lead, self.noise.now)

    def evaluate_next(self) -> Values:
        return self.network.values(self.features[1], self.lead, self.noise.next)


def both_ends(network: Network, batch: Batch, side: str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Features of (obs, next_obs) from one evaluation, (torsos, B, F) each, and new statistics of the torso, see `Term.statistics`.

    So a torso with batch statistics sees both ends of a batch at once.
    """
    noise = batch.noise.get(side, ViewNoise()).now
    features, statistics = network.learned_features(batch.obs, batch.next_obs, noise=noise, counted=transitions(batch))
    now, later = features.chunk(2, 1)
    return now, later, {f"chain.{side}.torso.{name}": value for name, value in statistics.items()}


def transitions(batch: Batch) -> Tensor | None:
    """Which rows of sequences (T, B) are transitions; None where all are, in batches (B,)."""
    return batch.valid if batch.valid.dim() > 1 else None
