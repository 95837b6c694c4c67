"""No target network: the online network gives the values in targets too."""

from __future__ import annotations

from deeprl.learning.networks.blocks import has_statistics
from deeprl.learning.networks.value_network import ValueNetwork
from deeprl.learning.parts.chains import Chain, MakeNetwork
from deeprl.learning.values.view import FeatureView, View, both_ends
from deeprl.types import Batch


class WithoutTargetNetwork:
    """Mixin of a chain whose online network is its target network."""

    online: ValueNetwork

    @property
    def target(self) -> ValueNetwork:  # no second submodule, which a checkpoint would hold too
        return self.online

    def make_target(self, make: MakeNetwork) -> None:
        """There is none."""

    def reset_target(self) -> None:
        """There is none."""


class TargetFree(WithoutTargetNetwork, Chain):  # type: ignore[override]
    """K = 1 with Q̄ = Q. Values in targets have no gradient. In other words: `Single` with a copy after every update, bit for bit.

    A torso with batch statistics evaluates both ends of a batch together, so that it sees (s, a) and (s', a') in one batch (CrossQ: Bhatt
    and others, 2024).
    """

    offers = frozenset({"joint"})
    live = True

    def __init__(self, make: MakeNetwork):
        super().__init__(make, length=1, torsos=1)

    def move_anchor(self, tau: float = 1.0) -> None:
        self.accompany(1.0)

    def starts_iteration(self, ended, updates: int) -> bool:
        return False

    def after_update(self, due: tuple[str, ...], target_updates: int) -> None:
        if "target" in due:
            self.move_anchor()

    def views(self, batch: Batch) -> tuple[View, View]:
        network = self.online
        if not has_statistics(network.torso):
            return super().views(batch)
        now, later, statistics = both_ends(network, batch, "online")
        after = later.detach()
        online = FeatureView(network, batch, "online", now, after, statistics)
        return online, FeatureView(network, batch, "target", now.detach(), after, {})
