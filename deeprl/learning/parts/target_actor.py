"""The target network of a policy, whose actions the critics' targets take."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

from deeprl.learning.networks.weight_norm import refuse_average
from deeprl.learning.optim.flat import flatten_
from deeprl.learning.parts.chains import Chain

Actor = TypeVar("Actor", bound=nn.Module)


def target_of(actor: Actor, chain: Chain) -> Actor:
    """A copy of the actor, which `Chain.move_anchor` moves with the critics' targets: θ̄ ← θ̄ + tau (θ − θ̄).

    Raises:
        ValueError: the actor has gains, which have no average.
    """
    refuse_average(actor, getattr(chain, "tau", 1.0))
    target = copy.deepcopy(actor)
    flatten_(list(target.parameters()))
    chain.companions.append((averaged_tensors(target), averaged_tensors(actor)))
    return target


def averaged_tensors(actor: nn.Module) -> list[Tensor]:
    """What a target actor copies: parameters and running statistics."""
    return [*actor.parameters(), *[buffer for buffer in actor.buffers() if buffer.is_floating_point()]]
