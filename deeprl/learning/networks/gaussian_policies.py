"""Gaussian policies whose deviation may depend on the state, plain and squashed by tanh.

    u = μ(s) + σ ξ,     σ = exp(log σ₀), or exp(log σ₀ + h(s)) with outputs h of the network, log σ within bounds
    a = u, or tanh u with   log π(a|s) = log N(u; μ, σ²) − Σ log(1 − a²),     u = artanh a

The entropy of the squashed one, H(N) + E log(1 − tanh² u), has no closed form: it is a Gauss-Hermite sum, of one dimension at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.policies import GaussianPolicy, Policy, PolicyChoice
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


class SquashedPolicy(GaussianPolicy):
    """a = tanh(μ(s) + σ ξ). Without noise tanh μ, the median."""

    nodes: Tensor
    weights: Tensor

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
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

    kind: ClassVar[type[GaussianPolicy]] = GaussianPolicy

    sigma: str = "free"
    low: float = -20.0
    high: float = 2.0

    def __post_init__(self):
        super().__post_init__()
        one_of(self, sigma=("free", "state"))
        in_range(self, low=(None, self.log_std), high=(self.log_std, None))

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Policy:
        continuous(self, spec)
        return self.kind(self, spec, torso, core, of_state=self.sigma == "state", bounds=(self.low, self.high))


@dataclass(frozen=True)
class Squashed(BoundedGaussian):
    """The Gaussian squashed by tanh, so that actions lie within (−1, 1).

    Args:
        sigma, low, high: as in `BoundedGaussian`, of the Gaussian before tanh.
    """

    kind: ClassVar = SquashedPolicy
