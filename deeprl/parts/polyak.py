"""Target networks that follow by Polyak averaging."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from deeprl.choice import Part, in_range
from deeprl.optim.flat import flatten_
from deeprl.values.reduce import Reduction
from deeprl.values.returns import Returns


class Side(nn.Module):
    """An actor and its critics: the agent has one side online and one as target."""

    def __init__(self, actor: nn.Module, critic: nn.Module, reduce: Reduction):
        super().__init__()
        self.actor, self.critic, self.reduce = actor, critic, reduce

    def value(self, obs: Tensor, action: Tensor) -> Returns:
        """What the ensemble says together: (K, *B, N')."""
        return self.reduce(self.critic(obs, action))


class Polyak(Part):
    """K = 1, every target a slow copy: θ̄ ← θ̄ + tau (θ − θ̄), whenever "target" is due.

    `lerp` at tau = 1 is an exact copy.
    """

    iterations = 1

    def __init__(self, make: Callable[[str], Side], *, tau: float = 0.005):
        super().__init__()
        self.tau = tau
        in_range(self, tau=(0, 1))
        self.online, self.target = make("online"), make("target")
        self.target.load_state_dict(self.online.state_dict())
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def pair(self, flat: list[Tensor]) -> None:
        """`flat` are the online parameters, actor and critic, one tensor each; targets are laid out likewise."""
        self._pairs = [(flatten_(list(module.parameters())), f) for module, f in zip((self.target.actor, self.target.critic), flat)]

    def combine(self, losses: Tensor) -> Tensor:
        return losses.sum()

    def follow(self, due: tuple[str, ...]) -> None:
        if "target" in due:
            for target, online in self._pairs:
                target.lerp_(online, self.tau)
