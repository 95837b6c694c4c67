"""Beta policies (Chou, Maturana, Scherer, 2017).

    a = 2 x − 1,     x ~ Beta(α, β) in each dimension,     α = 1 + softplus(f(s)),  β = 1 + softplus(g(s))

Both are above 1, so that the density has one mode, (α − 1) / (α + β − 2), and no mass lies outside of the bounds.

    x = G_α / (G_α + G_β),   Gamma variables by Marsaglia and Tsang (2000), whose tries are drawn beforehand; one in 20 at most is refused
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.gaussian_policies import continuous
from deeprl.learning.networks.policies import Policy, PolicyChoice
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.types import Spec

TRIES = 6
"""After as many refusals, one in 100 million, the sample is near the Gamma's mode"""
EDGE = 1e-6
"""Distance that x keeps from 0 and 1, where the density may be 0"""


def gamma(shape: Tensor, noise: Tensor) -> Tensor:
    """Gamma(shape, 1), (*B), of shapes of at least 1 and noise (*B, TRIES, 2), a normal and a uniform number for each try."""
    d, (normal, uniform) = shape - 1.0 / 3.0, noise.unbind(-1)
    v = (1.0 + normal / (3.0 * d.sqrt()).unsqueeze(-1)) ** 3
    log = v.clamp(min=1e-30).log()
    accepted = (v > 0) & (uniform.log() < 0.5 * normal.square() + d.unsqueeze(-1) * (1.0 - v + log))
    found = torch.ones_like(shape)
    for place in reversed(range(TRIES)):
        found = torch.where(accepted[..., place], v[..., place], found)
    return d * found


class BetaPolicy(Policy):
    """Outputs are f and g, (*B, 2 D)."""

    def __init__(self, choice: PolicyChoice, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()):
        super().__init__(spec, torso, 2 * continuous(choice, spec), choice.last_init, unit=False, core=core)

    def parts(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """α and β, (*B, D) each."""
        alpha, beta = (1.0 + F.softplus(outputs)).chunk(2, -1)
        return alpha, beta

    def greedy(self, outputs: Tensor) -> Tensor:
        alpha, beta = F.softplus(outputs).clamp(min=1e-20).chunk(2, -1)  # less 1 each
        return 2.0 * alpha / (alpha + beta) - 1.0

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        (alpha, beta), x = self.parts(outputs), ((action + 1.0) / 2.0).clamp(EDGE, 1.0 - EDGE)
        density = (alpha - 1.0) * x.log() + (beta - 1.0) * (-x).log1p() - log_beta(alpha, beta) - math.log(2.0)
        return density.sum(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        alpha, beta = self.parts(outputs)
        own = (alpha - 1.0) * alpha.digamma() + (beta - 1.0) * beta.digamma() - (alpha + beta - 2.0) * (alpha + beta).digamma()
        return (log_beta(alpha, beta) - own + math.log(2.0)).sum(-1)

    def noise(self, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        shape = (*size, self.last.sizes[-1], TRIES)
        normal, uniform = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)
        return torch.stack([normal, 1.0 - uniform], -1)  # in (0, 1]

    def sampled(self, outputs: Tensor, noise: Tensor) -> Tensor:
        one, other = gamma(1.0 + F.softplus(outputs), noise).chunk(2, -1)
        return 2.0 * one / (one + other) - 1.0


def log_beta(alpha: Tensor, beta: Tensor) -> Tensor:
    """log B(α, β)"""
    return alpha.lgamma() + beta.lgamma() - (alpha + beta).lgamma()


@dataclass(frozen=True)
class Beta(PolicyChoice):
    """`log_std` has no meaning here: the policy begins near α = β = 1 + ln 2."""

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Policy:
        return BetaPolicy(self, spec, torso, core)
