"""Target networks as a chain of K Bellman iterations, and the neutral element K = 1.

Entry k − 1 of the online stack is Q_k, entry k − 1 of the target stack is Q̄_{k−1}: prediction and target line up. Everything a
chain does to its weights is one of three moves of slices along the leading stack axis.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.choice import Part, in_range
from deeprl.networks.value_network import ValueNetwork
from deeprl.optim.flat import flatten_
from deeprl.types import Batch, NetworkNoise, ViewNoise
from deeprl.values.view import View

MakeNetwork = Callable[..., ValueNetwork]
"""`make(place, stack, torsos, index)`: a network of `stack` heads over `torsos` torsos, head k reading torso `index[k]`."""


def anchor_(target: nn.Module, online: nn.Module) -> None:
    """Q̄_0 ← Q_1."""
    _copy([t[:1] for t in target.parameters()], [o[:1] for o in online.parameters()])


def follow_(target: nn.Module, online: nn.Module) -> None:
    """Q̄_k ← Q_k for k = 1 … K − 1. Of a shared torso the target holds two entries, anchor and follower."""
    _copy([t[1:] for t in target.parameters()], [o[: t.shape[0] - 1] for t, o in zip(target.parameters(), online.parameters())])


def roll_(online: nn.Module) -> None:
    """Q_k ← Q_{k+1} for k < K; Q_K keeps its weights, and Adam's moments stay where they are (all branches of the authors')."""
    _copy([p[:-1] for p in online.parameters()], [p[1:].clone() for p in online.parameters()])


def _copy(into: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    pairs = [(i, s) for i, s in zip(into, source) if i.numel()]
    if pairs:
        torch._foreach_copy_([i for i, _ in pairs], [s for _, s in pairs])


class Chain(Part):
    """Online and target networks of a discrete agent. Subclasses say when weights move and which head acts.

    Args:
        make: builds the networks, see `MakeNetwork`.
        length: K.
        torsos: entries of the online torso, 1 (shared) or K.
    """

    remembers = False
    """Whether `choose` must see every step, because it remembers something."""

    def __init__(self, make: MakeNetwork, length: int, torsos: int):
        super().__init__()
        self.length, self.torsos = length, torsos
        self.online = make("online", stack=length, torsos=torsos, index=None)
        if torsos == 1 and length > 1:
            # The target torso is a pair: one belongs to the anchor Q̄_0, the other follows the online torso.
            self.target = make("target", stack=length, torsos=2, index=[0] + [1] * (length - 1))
        else:
            self.target = make("target", stack=length, torsos=torsos, index=None)
        flatten_(list(self.target.parameters()))
        self.reset_target()

    def reset_target(self) -> None:
        """Every Q̄_{k−1} starts as a copy of Q_k, as the authors of i-QN have it: before the first sync Q̄_k is not yet Q_k."""
        _copy(list(self.target.parameters()), [o.expand_as(t) for t, o in zip(self.target.parameters(), self.online.parameters())])

    def shifting(self, due: Collection[str], updates: int) -> bool:
        """Whether `maintain` is about to start a new iteration: the anchor Q̄_0 moves."""
        raise NotImplementedError

    def views(self, batch: Batch) -> tuple[View, View]:
        return View(self.online, batch, "online"), View(self.target, batch, "target")

    def combine(self, losses: Tensor) -> Tensor:
        """(K,) -> (): the sum, so that each Q_k learns as it would alone."""
        return losses.sum()

    def acting_values(self, obs: Tensor, noise: NetworkNoise) -> Tensor:
        """Values to choose from, (K, M, A)."""
        return self.online(obs, noise).mean()

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Any]:
        """What the networks need at both ends of a batch; each of the four evaluations draws its own, the same for all k."""
        now = self.online.noise(size, generator, "prediction")
        online = ViewNoise(now, self.online.noise(size, generator, "target"))
        return {"online": online, "target": ViewNoise(*(self.target.noise(size, generator, "target") for _ in range(2)))}

    def act_noise(self, size: tuple[int, ...], generator) -> dict[str, Any]:
        """What acting needs beside the explorer's noise; `size` is (ticks, M)."""
        return {"network": self.online.noise(size, generator, "acting")}

    def choose(
        self, values: Tensor, noise: dict[str, Tensor], first: Tensor, memory: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(K, M, A) -> the values that act, (M, A), and what to remember."""
        return values[-1], memory


class Single(Chain):
    """K = 1: the usual target network, copied every `target_update_period` environment steps (Mnih et al., 2015)."""

    def __init__(self, make: MakeNetwork, *, target_update_period: int):
        self.target_update_period = target_update_period
        in_range(self, target_update_period=(1, None))
        super().__init__(make, length=1, torsos=1)

    @property
    def periods(self) -> Mapping[str, int]:  # type: ignore[override]
        return {"sync": self.target_update_period}

    def shifting(self, due: Collection[str], updates: int) -> bool:
        return updates > 0 and "sync" in due

    def maintain(self, due: Collection[str], updates: int) -> None:
        if self.shifting(due, updates):
            anchor_(self.target, self.online)
