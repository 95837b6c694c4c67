"""The loss of an actor, without its entropy term."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from deeprl.choice import Choice
from deeprl.types import Batch


@dataclass(frozen=True)
class ActorView:
    """What an actor and its critics say of a batch. What is not read is not computed."""

    action: Tensor
    """π(s), (*B, D) in [-1, 1], with the gradient of the actor"""
    value_of: Callable[[Tensor], Tensor]
    """Actions (*B, D) -> their value Q(s, a), (*B,), by the critics that serve the actor, with the gradient of the actions"""
    log_prob_of: Callable[[Tensor], Tensor]
    """Actions (*B, D) -> log π(a|s), (*B,), with the gradient of the actor. The choice that calls it has `needs = {"density"}`"""
    advantage: Callable[[], Tensor]
    """() -> Q(s, a) less V(s) of the actions that were taken, (*B,), without a gradient. Beside a network of V (`agent/state_value`) Q is
    that of the target critics; without one V(s) is Q(s, π(s))"""

    @property
    def value(self) -> Tensor:
        """Q(s, π(s)), (*B,), with the gradient of the actor."""
        return self.value_of(self.action)


@dataclass(frozen=True)
class Improvement(Choice):
    """The loss L_π = −Q(s, π(s)): the deterministic policy gradient (Silver and others, 2014). With the entropy term of the temperature it
    is SAC's loss."""

    def loss(self, view: ActorView, batch: Batch) -> Tensor:
        """L_π of each row, (*B,).

        Args:
            batch: has the actions that were taken, and which rows are valid.
        """
        return -view.value
