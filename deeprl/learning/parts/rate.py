"""The rate of reward that is subtracted from rewards: nothing, or the average reward."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from deeprl.choice import Part
from deeprl.learning.networks.value_network import Networks
from deeprl.learning.optim.flat import Optimizer, Trained
from deeprl.types import NO_TERM, Batch, Term


def undiscounted(discount: float) -> None:
    """
    Raises:
        ValueError: the discount is not 1.
    """
    if discount != 1.0:
        raise ValueError(f"discount must be 1 where the average reward is learned, not {discount}: set discount=1")


class Rate(Part):
    """Rate of reward of an agent for continuous actions. This base class is neutral: the criterion is the discounted sum.

    Args:
        networks: builder of networks over (observation, action).
    """

    former: ClassVar = {"subtracted": "differential_reward"}
    learned = False
    """Whether `loss` has to be called"""

    def __init__(self, *, networks: Networks) -> None:
        super().__init__()

    def differential_reward(self, batch: Batch) -> Tensor:
        """Rewards of the critics' targets, (*B,): those of the batch minus the rate of each of their steps."""
        return batch.reward

    def groups(self, optimizer: Optimizer) -> Trained:
        """Parameters that are trained beside the critics, each group with its optimizer.

        Args:
            optimizer: that of the critics, without weight decay.
        """
        return []

    def companions(self) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Slow copies, which move with the target networks, see `Chain.companions`."""
        return []

    def loss(self, future: Tensor, target_now: Tensor, online_now: Tensor, batch: Batch) -> Term:
        """Loss of the rate's own parameters, with new values of its buffers under their names in the rate.

        Args:
            future: value of the next observation in targets, (K, *B).
            target_now: value of (s, a) by the target networks, (K, *B).
            online_now: values of (s, a) by each online critic, (K, E, *B).
            batch: as the critics see it: its observations are (s, a) now and (s', a') next.
        """
        return NO_TERM
