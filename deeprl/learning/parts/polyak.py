"""Target networks that follow by Polyak averaging."""

from __future__ import annotations

from deeprl.learning.networks.weight_norm import refuse_average
from deeprl.learning.parts.chains import Chain, MakeNetwork
from deeprl.learning.values.view import FeatureView, View, both_ends
from deeprl.types import Batch


def check_tau(tau: float) -> None:
    """
    Raises:
        ValueError: it is not above 0, where targets would never move, and at most 1.
    """
    if not (isinstance(tau, (int, float)) and not isinstance(tau, bool) and 0 < tau <= 1):
        raise ValueError(f"tau must be above 0 and at most 1, not {tau!r}")


class Polyak(Chain):
    """K = 1: θ̄ ← θ̄ + tau (θ − θ̄) after every gradient update at which "target" is due (Lillicrap et al., 2016)."""

    def __init__(self, make: MakeNetwork, *, tau: float = 0.005):
        self.tau = tau
        check_tau(tau)
        super().__init__(make, length=1, torsos=1)
        refuse_average(self.online, tau)

    def starts_iteration(self, ended, updates: int) -> bool:
        return False  # the iteration changes a little at every update

    def after_update(self, due: tuple[str, ...], target_updates: int) -> None:
        if "target" in due:
            self.move_anchor(self.tau)


class JointPolyak(Polyak):
    """`Polyak` for torsos with batch statistics: the online and the target network each see both ends of a batch in one batch (FlashSAC:
    Kim, Lee and others, 2026). For other torsos this changes nothing but the cost.

    The online network and the target network each have their own moments and running averages.
    """

    offers = frozenset({"joint"})

    def views(self, batch: Batch) -> tuple[View, View]:
        if self.online.core is not None:
            return super().views(batch)
        online, target = both_ends(self.online, batch, "online"), both_ends(self.target, batch, "target")
        return FeatureView(self.online, batch, "online", *online), FeatureView(self.target, batch, "target", *target)
