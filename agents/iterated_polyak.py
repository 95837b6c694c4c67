"""i-TD3 and i-SAC: iterated Q-networks with an actor (Vincent and others, TMLR 2025, report i-SAC).

No code is public, so that this form is our own:

    y_k  =  reward + discount [ min_j Q̄_{k−1,j}(s', a') − α log π(a'|s') ],     k = 1 … K,      the same a' for every k

At every update at which the targets of TD3 or SAC move:

    Q̄_0 ← Q̄_0 + tau (Q_1 − Q̄_0)          the anchor, and the target actor
    Q̄_k ← Q_k,  k = 1 … K − 1             every `sync_period` of them

A Q̄_k that followed Q_{k+1} softly would be a slow copy of the network that it is the target of: K agents side by side, and no chain. K = 1
is TD3 or SAC, bit for bit. docs/algorithms/isac.md.
"""

from __future__ import annotations

from collections.abc import Collection

from deeprl.choice import counts, one_of
from deeprl.learning.networks.weight_norm import refuse_average
from deeprl.learning.parts.acting import Acting
from deeprl.learning.parts.chains import Chain, MakeNetwork, follow_
from deeprl.learning.parts.polyak import check_tau


class IteratedPolyak(Chain):
    """The chain of i-TD3 and i-SAC.

    Args:
        length: K.
        tau: step of the anchor.
        sync_period: D, target updates from one copy Q̄_k ← Q_k to the next.
        acting: iteration whose critics the actor maximises: `uniform`, drawn at each update; `first`; `last`; or the `mean` of all. In a
            discrete agent, the network that acts.
    """

    def __init__(self, make: MakeNetwork, *, length: int = 3, tau: float = 0.005, sync_period: int = 1, acting: str = "uniform"):
        self.length, self.tau, self.sync_period, self.acting = length, tau, sync_period, acting
        counts(self, length=1, sync_period=1)
        check_tau(tau)
        one_of(self, acting=Acting.FOR_ACTORS)
        super().__init__(make, length=length, torsos=length, acting=acting)
        refuse_average(self.online, tau)

    def starts_iteration(self, ended: Collection[str], updates: int) -> bool:
        return False

    def after_update(self, due: tuple[str, ...], target_updates: int) -> None:
        if "target" in due:
            self.move_anchor(self.tau)
            if target_updates % self.sync_period == 0:
                follow_(self.target, self.online)
