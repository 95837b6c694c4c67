"""A target network that follows by Polyak averaging."""

from __future__ import annotations

from deeprl.choice import in_range
from deeprl.parts.chains import Chain, MakeNetwork


class Polyak(Chain):
    """K = 1: θ̄ ← θ̄ + tau (θ − θ̄) after every gradient update at which "target" is due (Lillicrap et al., 2016)."""

    def __init__(self, make: MakeNetwork, *, tau: float = 0.005):
        self.tau = tau
        in_range(self, tau=(0, 1))
        super().__init__(make, length=1, torsos=1)

    def shifting(self, due, updates: int) -> bool:
        return False  # the iteration changes a little at every update

    def follow(self, due: tuple[str, ...], updates: int) -> None:
        if "target" in due:
            self.anchor(self.tau)
