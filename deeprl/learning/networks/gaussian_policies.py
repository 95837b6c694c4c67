"""Gaussian policies whose deviation may depend on the state, plain and squashed by tanh.

    u = μ(s) + σ ξ,     σ = exp(log σ₀), or exp(log σ₀ + h(s)) with outputs h of the network, log σ within bounds
    a = u, or tanh u with   log π(a|s) = log N(u; μ, σ²) − Σ log(1 − a²),     u = artanh a

The entropy of the squashed one, H(N) + E log(1 − tanh² u), has no closed form: it is a Gauss-Hermite sum, of one dimension at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.policies import Deviations, Policy, PolicyChoice, normal_log_density
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.types import Spec

NODES = 24
EDGE = 1.0 - 1e-6
"""Largest magnitude of a squashed action whose artanh is taken, because float32 rounds tanh u to 1 from u = 9 on"""


def continuous(choice: PolicyChoice, spec: Spec) -> int:
    """Dimension of the actions.

    Raises:
        ValueError: they are discrete.
    """
    if spec.num_actions or spec.choices:
        raise ValueError(f"policy {type(choice).__name__} is for continuous actions, and these are discrete: choose agent/policy=auto")
    return spec.action_dim


def log_slope(u: Tensor) -> Tensor:
    """log(1 − tanh² u), without cancellation."""
    return 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))


class DiagonalGaussian(Policy):
    """a = μ(s) + σ ξ, clipped to [−1, 1] by the environment layer alone."""

    def __init__(self, choice: BoundedGaussian, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()):
        dim, of_state = continuous(choice, spec), choice.sigma == "state"
        super().__init__(spec, torso, dim * (1 + of_state), choice.last_init, unit=False, core=core)
        self.of_state, self.low, self.high, self.dim = of_state, choice.low, choice.high, dim
        self.deviations = Deviations(dim, choice.log_std)

    def parts(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """μ (*B, D) and log σ (*B, D), (D,) where it is free."""
        free = self.deviations.log_std[0]  # type: ignore[index]
        if not self.of_state:
            return outputs, free.clamp(self.low, self.high)
        mean, change = outputs.chunk(2, -1)
        return mean, (free + change).clamp(self.low, self.high)

    def greedy(self, outputs: Tensor) -> Tensor:
        return self.parts(outputs)[0]

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        return normal_log_density(action, *self.parts(outputs))

    def entropy(self, outputs: Tensor) -> Tensor:
        return (self.parts(outputs)[1] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1).expand(outputs.shape[:-1])

    def noise(self, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn((*size, self.dim), generator=generator)

    def sampled(self, outputs: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = self.parts(outputs)
        return mean + log_std.exp() * noise


class SquashedPolicy(DiagonalGaussian):
    """a = tanh(μ(s) + σ ξ). Without noise tanh μ, the median."""

    nodes: Tensor
    weights: Tensor

    def __init__(self, choice: BoundedGaussian, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()):
        super().__init__(choice, spec, torso, core)
        nodes, weights = np.polynomial.hermite.hermgauss(NODES)
        self.register_buffer("nodes", torch.tensor(math.sqrt(2.0) * nodes, dtype=torch.float32), persistent=False)
        self.register_buffer("weights", torch.tensor(weights / math.sqrt(math.pi), dtype=torch.float32), persistent=False)

    def greedy(self, outputs: Tensor) -> Tensor:
        return super().greedy(outputs).tanh()

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        u = action.clamp(-EDGE, EDGE).atanh()
        return super().log_prob(outputs, u) - log_slope(u).sum(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        mean, log_std = self.parts(outputs)
        slopes = log_slope(mean.unsqueeze(-1) + log_std.exp().unsqueeze(-1) * self.nodes)  # (*B, D, nodes)
        return super().entropy(outputs) + (slopes * self.weights).sum((-2, -1))

    def sampled(self, outputs: Tensor, noise: Tensor) -> Tensor:
        return super().sampled(outputs, noise).tanh()


@dataclass(frozen=True)
class BoundedGaussian(PolicyChoice):
    """
    Args:
        sigma: `free`, the same σ in every state; `state`, a function of it.
        low, high: bounds of log σ.
    """

    sigma: str = "free"
    low: float = -20.0
    high: float = 2.0

    def __post_init__(self):
        super().__post_init__()
        one_of(self, sigma=("free", "state"))
        in_range(self, low=(None, self.log_std), high=(self.log_std, None))

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Policy:
        return DiagonalGaussian(self, spec, torso, core)


@dataclass(frozen=True)
class Squashed(BoundedGaussian):
    """The Gaussian squashed by tanh, so that actions lie within (−1, 1).

    Args:
        sigma, low, high: as in `BoundedGaussian`, of the Gaussian before tanh.
    """

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Policy:
        return SquashedPolicy(self, spec, torso, core)
