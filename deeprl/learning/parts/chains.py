"""Target networks as a chain of K Bellman iterations, and the neutral element K = 1.

    entry       0      1     …   K − 1
    online      Q_1    Q_2   …   Q_K            trained
    target      Q̄_0    Q̄_1   …   Q̄_{K−1}        entry i of the target stack gives the targets of entry i of the online stack

A chain changes its weights by slices along this axis, the leading one of every parameter, and in no other way:

    anchor_         target[0]   ← online[0]       Q̄_0 ← Q_1, a copy or an average
    follow_         target[1:]  ← online[:-1]     Q̄_k ← Q_k
    roll_           online[:-1] ← online[1:]      Q_k ← Q_{k+1}
    reset_target    target      ← online          Q̄_{k−1} ← Q_k, at the start and at resets

A shared torso has one entry online and two in the target: that of the anchor Q̄_0, and that of all others. If the anchor is a head of the
online network (`anchors` = 1), the online stack is Q̄_0, Q_1 … Q_K, and there is no target stack. With an ensemble of E critics an iteration
is E entries that lie together, and every slice here is in units of E.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.choice import Part, in_range
from deeprl.learning.networks.blocks import moved
from deeprl.learning.networks.value_network import ValueNetwork
from deeprl.learning.optim.flat import flatten_
from deeprl.learning.parts.acting import Acting
from deeprl.learning.values.returns import Values, expected
from deeprl.learning.values.view import View
from deeprl.types import Batch, NetworkNoise, Noise, ViewNoise

Worth = Callable[[Values], Tensor]
"""`Values` -> what actions are worth, (K, *B, A)"""
MakeNetwork = Callable[..., ValueNetwork]
"""`make(place, stack, torsos, index)`: a network of `stack` heads over `torsos` torsos, where head k reads torso `index[k]`."""


def anchor_(target: ValueNetwork, online: ValueNetwork, tau: float = 1.0) -> None:
    """Q̄_0 ← Q̄_0 + tau (Q_1 − Q̄_0)."""
    first = slice(online.ensemble)
    _approach([t[first] for t in moved(target)], [o[first] for o in moved(online)], tau)


def follow_(target: ValueNetwork, online: ValueNetwork) -> None:
    """Q̄_k ← Q_k for k = 1 … K − 1, weights and the buffers that follow them."""
    e, pairs = online.ensemble, list(zip(moved(target), moved(online)))
    # in units of e, target and online have K and K entries; of a shared torso 2 and 1
    _approach([t[e:] for t, _ in pairs], [o[: t.shape[0] - e] for t, o in pairs])


def roll_(online: ValueNetwork) -> None:
    """Q_k ← Q_{k+1} for k < K; Q_K keeps its weights, and Adam's moments are not shifted (as in all branches of the authors' code)."""
    e = online.ensemble
    _approach([p[:-e] for p in moved(online)], [p[e:].clone() for p in moved(online)])


def _approach(into: Sequence[Tensor], source: Sequence[Tensor], tau: float = 1.0) -> None:
    """into ← into + tau (source − into); an exact copy at tau = 1."""
    pairs = [(i, s) for i, s in zip(into, source) if i.numel()]
    into, source = [i for i, _ in pairs], [s for _, s in pairs]
    if pairs and tau == 1.0:
        torch._foreach_copy_(into, source)
    elif pairs:
        torch._foreach_lerp_(into, source, tau)


class Chain(Part):
    """Online and target networks. Subclasses define when weights are copied and which head acts.

    Args:
        make: builds the networks, see `MakeNetwork`.
        length: K.
        torsos: number of online torsos, 1 (shared) or K.
        acting: which of the K networks acts, or serves an actor, see `deeprl.learning.parts.acting.Acting`.

    Attributes:
        companions: (target, online) tensors without a chain of their own, which move with the anchor Q̄_0: the target actor, slow copies.
    """

    periods: Mapping[str, int] = {}
    """Periods in environment steps, by name. After a multiple of a period `on_period` is called with its name."""

    former: ClassVar = {"copies": "has_copied_target"}
    live = False
    """Whether online networks themselves give the values in targets, except those of an anchor."""

    anchors = 0
    """Number of online heads before Q_1 that are not trained: 1 if Q̄_0 is one of them."""

    def __init__(self, make: MakeNetwork, length: int, torsos: int, acting: str = "last"):
        super().__init__()
        self.length, self.torsos = length, torsos
        self.rule = Acting(acting, length)
        self.companions: list[tuple[list[Tensor], list[Tensor]]] = []
        self.online = make("online", stack=self.anchors + length, torsos=torsos, index=None)
        self.make_target(make)

    def make_target(self, make: MakeNetwork) -> None:
        """Build the target networks, as a copy of the online ones."""
        if self.torsos == 1 and self.length > 1:
            # two target torsos: the first belongs to the anchor Q̄_0, the second follows the online torso
            self.target = make("target", stack=self.length, torsos=2, index=[0] + [1] * (self.length - 1))
        else:
            self.target = make("target", stack=self.length, torsos=self.torsos, index=None)
        flatten_(list(self.target.parameters()))
        self.reset_target()

    def reset_target(self) -> None:
        """Copy Q_k to Q̄_{k−1} for every k, as in the i-QN authors' code, with the running averages that belong to the weights. So Q̄_k
        differs from Q_k before the first sync."""
        online = self.online.state_dict()
        for name, target in self.target.state_dict().items():
            source = online[name]
            if target.dim() > 0:  # a scalar, such as the count of batches seen, has no stack axis
                source = torch.cat([source] * (len(target) // len(source)))  # a shared torso twice, all else once
            target.copy_(source)

    def move_anchor(self, tau: float = 1.0) -> None:
        """Q̄_0 ← Q̄_0 + tau (Q_1 − Q̄_0), and the same for the companions."""
        anchor_(self.target, self.online, tau)
        self.accompany(tau)

    def accompany(self, tau: float) -> None:
        """Move the companions alone."""
        for target, online in self.companions:
            _approach(target, online, tau)

    def after_update(self, due: tuple[str, ...], target_updates: int) -> None:
        """Called after every gradient update.

        Args:
            due: names from `Agent.due`. Networks that follow updates move if "target" is among them.
            target_updates: number of updates so far at which "target" was due.
        """

    def on_period(self, ended: Collection[str], updates: int) -> None:
        """Called at the end of a tick in which a period ended.

        Args:
            ended: names of these periods, keys of `periods`.
            updates: gradient updates so far.
        """

    def starts_iteration(self, ended: Collection[str], updates: int) -> bool:
        """Whether `on_period` with these arguments starts a new iteration, by a copy to the anchor Q̄_0; never before the first update,
        because there is nothing learned to copy."""
        raise NotImplementedError

    def views(self, batch: Batch) -> tuple[View, View]:
        """Online and target networks at both ends of a batch, K values each: target k − 1 serves online network k."""
        return View(self.online, batch, "online"), View(self.target, batch, "target")

    @classmethod
    def has_copied_target(cls) -> bool:
        """Whether every target comes from the target network, and an iteration starts by a copy to it. A weighting then renews its own
        networks at that copy."""
        return "iterations" in cls.offers and not cls.anchors and cls.views is Chain.views

    def combine(self, losses: Tensor) -> Tensor:
        """Total loss, (K,) -> (): a sum, so that each Q_k has the same gradient as it would alone."""
        return losses.sum()

    @property
    def share(self) -> float:
        """Factor of each loss in `combine`, for losses of the K iterations beside the agent's."""
        return float(self.combine(torch.ones(self.length))) / self.length

    def acting_values(self, obs: Tensor, noise: NetworkNoise, worth: Worth = expected) -> Tensor:
        """Values from which `rule` selects, (K, M, A).

        Args:
            worth: of all actions, (K, M, A), in a prediction.
        """
        return self.of_iterations(worth(self.online(obs, noise)))

    def of_iterations(self, values: Tensor) -> Tensor:
        """What the online network says, (anchors + K, M, A), without the iterations that do not act."""
        return values

    def noise(self, size: tuple[int, ...], generator) -> Noise:
        """Random numbers of the networks at both ends of a batch: independent for the four evaluations, the same for all k."""
        now = self.online.noise(size, generator, "prediction")
        online = ViewNoise(now, self.online.noise(size, generator, "target"))
        return {"online": online, "target": ViewNoise(*(self.target.noise(size, generator, "target") for _ in range(2)))}

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        """Random numbers for acting beside those of exploration; `size` is (ticks, M). The agent moves them to its device."""
        return {"network": self.online.noise(size, generator, "acting"), **self.rule.noise(size, generator)}


class Single(Chain):
    """K = 1: the usual target network, copied every `target_update_period` environment steps (Mnih et al., 2015)."""

    offers = frozenset({"iterations"})

    def __init__(self, make: MakeNetwork, *, target_update_period: int):
        self.target_update_period = target_update_period
        in_range(self, target_update_period=(1, None))
        super().__init__(make, length=1, torsos=1)

    @property
    def periods(self) -> Mapping[str, int]:  # type: ignore[override]
        return {"sync": self.target_update_period}

    def starts_iteration(self, ended: Collection[str], updates: int) -> bool:
        return updates > 0 and "sync" in ended

    def on_period(self, ended: Collection[str], updates: int) -> None:
        if self.starts_iteration(ended, updates):
            self.move_anchor()
