"""Policy optimisation via importance sampling (POIS; Metelli, Papini, Faccio, Restelli, 2018), for whole episodes of any planned lengths
(Poiani, Metelli, Restelli, 2023).

A batch of N episodes of θ₀ is optimised over off-line, from θ₀, by a lower bound of the new policy's return (agents/importance_bound.py):

    trajectory   (1/N) Σ_i w_i G_i − √((1−δ)/δ) √(d̂₂/N) max_i |G_i|          w_i = Π_t π_θ/π_θ₀,  d̂₂ = (1/N) Σ_i Π_t d₂(π_θ ‖ π_θ₀)
    decision     Σ_t (γ^t/m_t) Σ_{i: h_i > t} w_{i,t} r_{i,t} − Σ_t γ^t r_max √((1−δ)/δ · d̂₂^(t)/m_t)        w_{i,t}, d̂₂^(t): l ≤ t
    G_i: returns, less their mean over the batch if `center`
    θ ← θ + ε g/‖g‖²,  ε by a line search; until ‖g‖ or the gain is small, at most `steps` times: agents/climbing.py

The natural gradient takes F⁻¹g/(gᵀF⁻¹g) in place of g/‖g‖². The weights `decision` are ours for planned lengths; the paper's are not known
to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.agents.climbing import Climb
from deeprl.agents.importance_bound import categorical_log_d2, gaussian_log_d2, lower_bound, trust
from deeprl.choice import Choice, counts, in_range, one_of
from deeprl.learning.networks.policies import CategoricalPolicy, GaussianPolicy, Policy
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.optim.directions import conjugate_gradient, fisher_vector
from deeprl.learning.optim.own import OwnSteps
from deeprl.learning.parts.ascent import Ascent
from deeprl.learning.parts.whole_episodes import WholeEpisodes


@dataclass(frozen=True)
class Steepest(Choice):
    """The gradient itself."""

    def __call__(self, gradient: Tensor, episodes: WholeEpisodes, policy: Policy, optimizer: OwnSteps) -> Tensor:
        """(P,) -> (P,)"""
        return gradient


@dataclass(frozen=True)
class Natural(Steepest):
    """F⁻¹g, by conjugate gradient.

    Args:
        damping: added to the diagonal of F.
        iterations: at most.
    """

    damping: float = 1e-3
    iterations: int = 10

    def __post_init__(self):
        in_range(self, damping=(0, None))
        counts(self, iterations=1)

    def __call__(self, gradient: Tensor, episodes: WholeEpisodes, policy: Policy, optimizer: OwnSteps) -> Tensor:
        with differentiated(optimizer.parameters):
            log_prob = episodes.log_prob(policy)[episodes.batch.valid].float()
            product = partial(fisher_vector, log_prob, optimizer.parameters)
            return conjugate_gradient(lambda u: product(u) + self.damping * u, gradient, self.iterations).detach()


class POIS(Ascent):
    """
    Args:
        delta: δ; the larger, the further a batch is trusted.
        weights: "trajectory" or "decision".
        center: "trajectory" alone: returns without their mean over the batch.
        climb: its steps.
        direction: of a step.
    """

    argument_groups: ClassVar = {"climb": Climb}
    remedy = ""  # the bound decides how long a step is

    def __init__(
        self,
        *,
        policy: Policy,
        seed: int,
        delta: float = 0.4,
        weights: str = "trajectory",
        center: bool = True,
        climb: Climb = Climb(),
        direction: Steepest = Steepest(),
    ):
        super().__init__(policy=policy, seed=seed)
        self.delta, self.weights, self.center, self.climb, self.direction = delta, weights, center, climb, direction
        in_range(self, delta=(1e-6, 1))
        one_of(self, weights=("trajectory", "decision"), center=(True, False))
        if type(self.policy) not in (GaussianPolicy, CategoricalPolicy) or getattr(self.policy, "of_state", False):
            raise ValueError(
                f"policy {type(self.policy).__name__} has no closed form of d₂, unless its deviation is the same in every state: choose "
                "agent/policy=auto, or gaussian with agent.policy.sigma=free; of components (env.components=true), and of all others, "
                "agent/ascent=pois_parameters has one"
            )

    def log_d2(self, outputs: Tensor, old: Tensor, old_log_std: Tensor | None) -> Tensor:
        """ln d₂(π_θ ‖ π_θ₀) in each state, (T, N) float64."""
        log_std = self.log_std(outputs)
        if log_std is None or old_log_std is None:
            return categorical_log_d2(outputs.double(), old.double())
        return gaussian_log_d2(outputs.double(), log_std.double(), old.double(), old_log_std.double())

    def log_std(self, outputs: Tensor) -> Tensor | None:
        """log σ of a Gaussian, (D,)."""
        return self.policy.parts(outputs)[1] if isinstance(self.policy, GaussianPolicy) else None

    def bound(self, episodes: WholeEpisodes, old: Tensor, old_log: Tensor, old_log_std: Tensor | None) -> Tensor:
        """(), for the present parameters.

        Args:
            old, old_log, old_log_std: outputs (T, N, …), log π (T, N) and, of a Gaussian, log σ (D,) of θ₀.
        """
        outputs, valid = episodes.outputs(self.policy), episodes.batch.valid
        ratio = episodes.log_prob(self.policy, outputs) - old_log
        divergence = torch.where(valid, self.log_d2(outputs, old, old_log_std), 0.0)
        if self.weights == "trajectory":
            return lower_bound(episodes, self.center, ratio.sum(0), divergence.sum(0).exp().mean(), self.delta)
        planned, count = episodes.batch.extra["planned"], episodes.counts
        mean = (torch.where(planned, ratio.cumsum(0).exp() * episodes.discounted, 0.0) / count).sum()
        spread = ((torch.where(planned, divergence.cumsum(0).exp(), 0.0) / count).sum(1) / count[:, 0]).sqrt()
        largest = torch.where(valid, episodes.batch.reward, 0.0).abs().max()
        return mean - trust(self.delta) * largest * (episodes.discount_powers * spread).sum()

    def loss(self, episodes: WholeEpisodes) -> Tensor:
        return -self.bound(episodes, *self.behaved(episodes)).float()

    def behaved(self, episodes: WholeEpisodes) -> tuple[Tensor, Tensor, Tensor | None]:
        """What `bound` takes of the present parameters as θ₀."""
        with torch.no_grad():
            outputs = episodes.outputs(self.policy)
            log_std = self.log_std(outputs)
            return outputs, episodes.log_prob(self.policy, outputs), None if log_std is None else log_std.clone()

    def step(self, episodes: WholeEpisodes, update: int) -> tuple[dict[str, Tensor], Tensor]:
        old = self.behaved(episodes)
        direction = partial(self.direction, episodes=episodes, policy=self.policy, optimizer=self.optimizer)
        return self.climb(self.optimizer, lambda: self.bound(episodes, *old), direction)
