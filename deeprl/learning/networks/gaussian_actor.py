"""A policy for continuous actions whose deviation is the same in every state, as learners by weighted likelihood have it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.actors import Actor, ActorChoice
from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.layers import SCHEMES
from deeprl.learning.networks.policies import Deviations, normal_log_density
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.types import Spec


class GaussianActor(Actor):
    """a = μ(s) + σ ξ, cut off at ± 1 after log π is taken; σ is no function of the state."""

    stochastic = True

    def __init__(self, choice: Gaussian, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()):
        super().__init__(spec, torso, spec.action_dim, choice.last_init, unit=False, core=core)
        self.choice, self.deviations = choice, Deviations(spec.action_dim, choice.log_std, (choice.low, choice.high))

    def log_std(self) -> Tensor:
        """(D,)"""
        return self.deviations.log_std[0].clamp(self.choice.low, self.choice.high)  # type: ignore[index]

    def greedy(self, outputs: Tensor) -> Tensor:
        return outputs.tanh() if self.choice.mean == "tanh" else outputs.clamp(-1.0, 1.0)

    def centre(self, outputs: Tensor) -> Tensor:
        """μ, (*B, D)."""
        return outputs.tanh() if self.choice.mean == "tanh" else outputs

    def drawn(self, outputs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        assert noise is not None, "a stochastic policy without noise"
        action = self.centre(outputs) + self.log_std().exp() * noise
        return action.clamp(-1.0, 1.0), self.log_prob(outputs, action)

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        return normal_log_density(action, self.centre(outputs), self.log_std())


@dataclass(frozen=True)
class Gaussian(ActorChoice):
    """
    Args:
        mean: `tanh` bounds μ (authors' code of IQL), `linear` does not (AWAC in CORL).
        low, high: interval of log σ, to which it goes back after an update, see `Deviations`.
        log_std: its initial value.
        last_init: initialiser of the last layer; null takes the torso's.
    """

    mean: str = "tanh"
    low: float = -5.0
    high: float = 2.0
    log_std: float = 0.0
    last_init: str | None = None

    offers = frozenset({"actor", "density"})

    def __post_init__(self):
        one_of(self, mean=("tanh", "linear"), last_init=(None, *SCHEMES))
        in_range(self, low=(None, None), high=(None, None))
        if not self.high > self.low:
            raise ValueError(f"high must be above low, not {self.high} and {self.low}")
        in_range(self, log_std=(self.low, self.high))

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Actor:
        return GaussianActor(self, spec, torso, core)
