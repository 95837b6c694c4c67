"""Critics of continuous actions: value networks whose input is (observation, action), with one action.

So each torso, head, mapping and chain of the discrete agents serves continuous ones. The stack axis of K iterations with E critics each is
K·E, and the critics of one iteration lie together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.learning.networks.heads import HeadChoice
from deeprl.learning.networks.mapped import Mapped
from deeprl.learning.networks.value_network import Networks, ValueNetwork
from deeprl.learning.values.mapped import MappedValues
from deeprl.learning.values.returns import Returns, Values
from deeprl.types import Spec

ONLY = torch.zeros((), dtype=torch.int64)
"""The one action of a critic, for `Values.at` and `Values.expect`"""


def pair_spec(spec: Spec) -> Spec:
    """Spaces of a critic: its observation is (observation, action)."""
    return spec._replace(obs_shape=(spec.obs_shape[0] + spec.action_dim,), num_actions=1, action_dim=0, parts=())


def pair(obs: Tensor, action: Tensor) -> Tensor:
    """(*B, S) and (*B, D) -> (*B, S + D)"""
    return torch.cat([obs, action], -1)


@dataclass(frozen=True)
class Critics:
    """Builder of ensembles of critics: a `deeprl.learning.parts.chains.MakeNetwork`.

    Args:
        networks: builder of value networks over `pair_spec`.
        head: choice that builds the heads.
        ensemble: E.
        share: see `HeadChoice.share`.
        beside: see `Auxiliary.beside`; each critic has modules of its own, or those of its torso.
    """

    networks: Networks
    head: HeadChoice | Mapped
    ensemble: int
    share: Callable[..., nn.Module | None]
    beside: Callable[..., nn.Module | None]

    def __call__(self, place: str, stack: int, torsos: int, index: Sequence[int] | None = None, trunk: bool = False) -> ValueNetwork:
        e = self.ensemble
        if index is None and torsos < stack and e > 1:
            index = [0] * stack
        entries = None if index is None else [torso * e + critic for torso in index for critic in range(e)]
        return self.networks.chained(self.head, self.share, self.beside, place, stack * e, torsos * e, entries, e, trunk)


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


def ensemble_loss(chosen: Values, returns: Returns, ensemble: int) -> tuple[Tensor, Tensor]:
    """Loss and |error| of each iteration, (K, *B): the sum over its critics, not the mean, and their largest error, as in LAP.

    Args:
        returns: result of `for_each`.
    """
    loss, error = (each.unflatten(0, (-1, ensemble)) for each in chosen.loss(returns))
    return loss.sum(1), error.amax(1)
