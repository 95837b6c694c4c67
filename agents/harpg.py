"""Momentum in the policy gradient without importance weights: N-PG-IGT and (N-)HARPG (Fatkhullin, Barakat, Kireeva, He, 2023).

    N-PG-IGT   θ̃ = θ + ((1−η)/η)(θ − θ₋),  τ ~ π_θ̃;     d ← (1−η) d + η ∇Φ(θ̃; τ);             θ ← θ + lr d/‖d‖,   η_k = η₀ (2/(k+2))^0.8
    HARPG      θ̂ = b θ + (1−b) θ₋,  b ~ U[0, 1],  τ̂ ~ π_θ̂,  τ ~ π_θ;
               d ← (1−η)(d + Ĥ(θ̂; τ̂)(θ − θ₋)) + η ∇Φ(θ; τ);   θ ← θ + lr d, or lr d/‖d‖,          η_k = η₀ 2/(k+2)
    Ĥ u = Σ_i ∇⟨∇Φ_i, u⟩ + ∇Φ_i ⟨∇ℓ_i, u⟩,   ℓ_i = Σ_t log π                                     lr_k = lr (2/(k+2))^power

k counts from 0; d₀ = ∇Φ, so that η is 1 at k = 0 for every η₀. Both products are of each episode (the authors' code multiplies means over
the batch, which is biased). The policy that collects is a copy: θ̃ of the one; of the other θ̂ and θ in turn, so that one of its steps
takes two batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.blocks import moved
from deeprl.learning.networks.policies import Policy
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.optim.directions import as_flat, flat_gradient, hessian_vector, jacobian_vector
from deeprl.learning.optim.finite import finite
from deeprl.learning.optim.flat import write_
from deeprl.learning.parts.ascent import Ascent
from deeprl.learning.parts.whole_episodes import WholeEpisodes
from deeprl.noise import torch_generator


class Momentum(Ascent):
    """What both remember: θ₋, d, and the copy of the policy that collects.

    Args:
        eta: η₀.
        power: by which the step falls.
        normalize: steps have the length of the learning rate.
        others: as in `Ascent`.
    """

    hands_on: ClassVar = Ascent
    starts_anew = ("sampler", "previous", "direction")
    previous: Tensor
    direction: Tensor

    def __init__(self, *, eta: float = 1.0, power: float = 1.0, normalize: bool = True, **others):
        super().__init__(**others)
        self.eta, self.power, self.normalize = eta, power, normalize
        in_range(self, eta=(1e-9, 1), power=(0, None))
        one_of(self, normalize=(True, False))
        self.sampler = copy.deepcopy(self.policy)
        self.parameters_there = list(self.sampler.parameters())
        for name in ("previous", "direction"):
            self.register_buffer(name, torch.zeros_like(as_flat(self.parameters_there)))

    @property
    def remedy(self) -> str:
        fixed = "agent.ascent.normalize=true agent.ascent.power=1"
        return "" if self.normalize else super().remedy.replace("agent=npg_igt", fixed)

    @property
    def behaviour(self) -> Policy:
        return self.sampler

    def copies(self) -> dict[str, Callable[[], object]]:
        return {"sampler": lambda: self.collect_at_(self.optimizer.flat)}

    @torch.no_grad()
    def collect_at_(self, flat: Tensor) -> None:
        """Set the policy that collects, (P,)."""
        write_(self.parameters_there, flat)
        number = len(self.parameters_there)  # in front of the buffers that follow weights
        for into, value in zip(moved(self.sampler)[number:], moved(self.policy)[number:]):
            into.copy_(value)
        blocks: Any = self.sampler.modules()
        for block in blocks:
            if getattr(block, "followers", ()):
                block.project_()  # as the learner does after an update of the policy

    def phi_there(self, episodes: WholeEpisodes) -> tuple[Tensor, Tensor]:
        """Φ and ℓ of each episode, (N,), at the policy that collected them."""
        log_prob = episodes.log_prob(self.sampler)
        return (episodes.returns(self.baseline) * log_prob).sum(0), log_prob.sum(0)

    def gradient(self, episodes: WholeEpisodes) -> Tensor:
        return self.there(lambda: flat_gradient(self.phi_there(episodes)[0].sum(), self.parameters_there))

    def there(self, derivative: Callable[[], Tensor]) -> Tensor:
        """A derivative by the parameters of the policy that collected, (P,)."""
        with differentiated(self.parameters_there):
            return finite(derivative().detach())

    def advance_(self, k: int) -> None:
        """θ₋ ← θ, then one step along d."""
        length = self.lr * (2.0 / (k + 2)) ** self.power
        flat = self.optimizer.flat
        self.previous.copy_(flat)
        norm = torch.linalg.vector_norm(self.direction)
        scale = torch.where(norm > 0, length / norm, 0.0) if self.normalize else length
        self.optimizer.move_(flat + scale * self.direction, length)


class Extrapolated(Momentum):
    """N-PG-IGT."""

    def weight(self, k: int) -> float:
        return self.eta * (2.0 / (k + 2)) ** 0.8

    def step(self, episodes: WholeEpisodes, update: int) -> tuple[dict[str, Tensor], Tensor]:
        k = update - 1
        gradient, eta = self.gradient(episodes), self.weight(k) if k else 1.0
        self.direction.copy_(torch.lerp(self.direction, gradient, eta))
        self.advance_(k)
        ahead, flat = self.weight(k + 1), self.optimizer.flat
        self.collect_at_(flat + ((1.0 - ahead) / ahead) * (flat - self.previous))
        return {"train/momentum": gradient.new_full((), 1.0 - eta)}, torch.linalg.vector_norm(gradient)


class Corrected(Momentum):
    """HARPG; with `normalize` N-HARPG. Odd updates are those at θ, even ones those at θ̂."""

    def step(self, episodes: WholeEpisodes, update: int) -> tuple[dict[str, Tensor], Tensor]:
        k = update // 2
        if update % 2 == 0:
            product = self.curvature(episodes, self.optimizer.flat - self.previous)
            self.direction.add_(product)
            self.collect_at_(self.optimizer.flat)
            return {"train/curvature": torch.linalg.vector_norm(product)}, torch.linalg.vector_norm(product)
        gradient, eta = self.gradient(episodes), self.eta * 2.0 / (k + 2) if k else 1.0
        self.direction.copy_(torch.lerp(self.direction, gradient, eta))
        self.advance_(k)
        b = torch.rand((), generator=torch_generator(self.seed, "update", "harpg", k)).to(self.previous.device)
        self.collect_at_(torch.lerp(self.previous, self.optimizer.flat, b))
        return {"train/momentum": gradient.new_full((), 1.0 - eta)}, torch.linalg.vector_norm(gradient)

    def curvature(self, episodes: WholeEpisodes, u: Tensor) -> Tensor:
        """Ĥ u, (P,)."""

        def product() -> Tensor:
            phi, log = self.phi_there(episodes)
            along = jacobian_vector(log, self.parameters_there, u)
            return hessian_vector(phi.sum(), self.parameters_there, u) + flat_gradient((phi * along).sum(), self.parameters_there)

        return self.there(product)
