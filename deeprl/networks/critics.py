"""Critics of continuous actions: value networks whose input is (observation, action), with one action.

So each torso, head, mapping and chain of the discrete agents serves continuous ones. The stack axis of K iterations with E critics each is
K·E, and the critics of one iteration lie together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from deeprl.networks.value_network import Networks, ValueNetwork
from deeprl.types import Batch, NetworkNoise, Spec
from deeprl.values.mapped import MappedValues
from deeprl.values.returns import Returns, Values

ONLY = torch.zeros((), dtype=torch.int64)
"""The one action of a critic, for `Values.at` and `Values.expect`"""


def pair_spec(spec: Spec) -> Spec:
    """Spaces of a critic: its observation is (observation, action)."""
    return spec._replace(obs_shape=(spec.obs_shape[0] + spec.action_dim,), num_actions=1, action_dim=0)


def pair(obs: Tensor, action: Tensor) -> Tensor:
    """(*B, S) and (*B, D) -> (*B, S + D)"""
    return torch.cat([obs, action], -1)


def pairs(batch: Batch, next_action: Tensor) -> Batch:
    """The batch as critics see it: (s, a) now, (s', a') next."""
    return batch._replace(obs=pair(batch.obs, batch.action), next_obs=pair(batch.next_obs, next_action))


@dataclass(frozen=True)
class Critics:
    """Builder of ensembles of critics: a `deeprl.parts.chains.MakeNetwork`.

    Args:
        networks: builder of value networks over `pair_spec`.
        head: choice that builds the heads.
        ensemble: E.
        share: see `HeadChoice.share`.
    """

    networks: Networks
    head: Any
    ensemble: int
    share: Any

    def __call__(self, place: str, stack: int, torsos: int, index: Sequence[int] | None = None, trunk: bool = False) -> ValueNetwork:
        e = self.ensemble
        if index is None and torsos < stack and e > 1:
            index = [0] * stack
        entries = None if index is None else [torso * e + critic for torso in index for critic in range(e)]
        return self.networks.chained(self.head, self.share, lambda *_: None, place, stack * e, torsos * e, entries, e, trunk)


def ensemble_returns(values: Values, ensemble: int) -> Returns:
    """Returns of all critics, atoms (K, E, *B, N)."""
    returns = values.expect(ONLY)
    if isinstance(values, MappedValues):  # of one channel
        returns = Returns(returns.atoms.squeeze(1))
    atoms, probs = returns
    return Returns(atoms.unflatten(0, (-1, ensemble)), None if probs is None else probs.unflatten(0, (-1, ensemble)))


def for_each(returns: Returns, values: Values, ensemble: int) -> Returns:
    """The target of every critic of an iteration, (K, *B, N) -> (K·E, *B, N), in the form that `values.loss` takes."""

    def repeated(x: Tensor) -> Tensor:
        x = x if ensemble == 1 else x.unsqueeze(1).expand(-1, ensemble, *x.shape[1:]).flatten(0, 1)
        return x.unsqueeze(1) if isinstance(values, MappedValues) else x

    return Returns(repeated(returns.atoms), None if returns.probs is None else repeated(returns.probs))


class Reading(nn.Module):
    """The returns of a network's critics. A network of its own, because an implicit head reads its weights only when it is asked."""

    def __init__(self, network: ValueNetwork, ensemble: int):
        super().__init__()
        self.network, self.ensemble = network, ensemble

    def forward(self, x: Tensor, noise: NetworkNoise) -> Returns:
        return ensemble_returns(self.network(x, noise), self.ensemble)


class CriticSubset:
    """Evaluation of some critics of an ensemble, at the cost of these alone: 6 % of an update of TD3, 18 % of i-TD3's with K = 3
    (`python -m benchmarks.speed actor_critic_cost`).

    Args:
        template: a network of as many critics; only its structure is used, never its weights.
        ensemble: how many of them belong to one iteration.
    """

    def __init__(self, template: ValueNetwork, ensemble: int):
        self.reading = Reading(template, ensemble).to("meta")

    def __call__(self, network: ValueNetwork, entries: Tensor | slice, x: Tensor, noise: NetworkNoise) -> Returns:
        """Returns of these critics, atoms (K', E', *B, N).

        Args:
            network: with all critics.
            entries: of the stack axis.
            x: (*B, S + D)
        """
        tensors = {name: parameter[entries] for name, parameter in network.named_parameters()} | dict(network.named_buffers())
        noise = noise._replace(layers={name: numbers[entries] for name, numbers in noise.layers.items()})
        return functional_call(self.reading, {f"network.{name}": tensor for name, tensor in tensors.items()}, (x, noise))


def serving(k: Tensor | None, length: int, ensemble: int, first_only: bool) -> Tensor | slice:
    """Entries of the stack of K·E critics that serve an actor, iteration by iteration.

    Args:
        k: (1,) int64 the iteration that serves; None: all.
        length, ensemble: K and E.
        first_only: only the first critic of an iteration serves.
    """
    each = slice(None, None, ensemble) if first_only else slice(None)  # of one iteration, or of the stack
    if k is None:
        return each
    entries = torch.arange(length * ensemble, device=k.device).unflatten(0, (length, ensemble))
    return entries.index_select(0, k)[0, each]
