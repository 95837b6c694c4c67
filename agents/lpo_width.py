"""Widths: how far functions that agree on a core set of pairs (s, a) may differ elsewhere. For agents/lpo.py."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Part, counts, in_range
from deeprl.learning.networks.actors import OutputNetwork
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.weight_norm import initialise_with_gains
from deeprl.learning.optim.adam import Adam
from deeprl.learning.optim.differentiated import differentiated
from deeprl.types import Spec


class Width(Part):
    """Linear functions with a ridge of 1: w = √(φᵀ G⁻¹ φ), G = I + Σ φφᵀ. With one-hot pairs w = 1 / √(1 + n(z)), and the sensitivity w² is
    1 / (1 + n(z)).

    Args:
        size: F, numbers of a pair.
        torso: choice of the agent's features.
        seed: of initial weights.
    """

    gram: Tensor
    inverse: Tensor

    def __init__(self, *, size: int, torso: TorsoChoice, seed: int):
        super().__init__()
        self.register_buffer("gram", torch.eye(size, dtype=torch.float64, device="cpu"))
        self.register_buffer("inverse", torch.eye(size))

    def forward(self, pairs: Tensor) -> Tensor:
        """(*B, F) -> (*B,)"""
        return ((pairs @ self.inverse) * pairs).sum(-1).clamp(min=0).sqrt()

    def sensitivity(self, pairs: Tensor) -> Tensor:
        """(n, F) -> (n,)"""
        return self(pairs).square()

    def grow(self, pairs: Tensor, kept: np.ndarray, copies: np.ndarray, random: np.random.Generator) -> None:
        """Take pairs into the core set.

        Args:
            pairs: (n, F) of the newest rollout.
            kept: places of those that enter.
            copies: how often each counts.
        """
        new = pairs.cpu().double()[torch.from_numpy(kept)]
        self.gram += (new * torch.from_numpy(copies).unsqueeze(-1)).T @ new
        self.inverse.copy_(torch.linalg.inv(self.gram))


class NetworkWidth(Part):
    """A network f that is fitted to differ from a fixed one, g, on the newest rollout, and to agree with it on the core set (as in ENIAC):
    w = |f − g| / its largest value in that rollout, at most 1.

        L = mean_core (f − g)² − λ mean_query (f − g)² − λ₁ mean_query (f − g)        sensitivity = w² / (mean_kept w² + β)

    mean_core counts a pair 1/p times, p being the probability with which it entered; mean_kept counts it once. A mean in the divisor is our
    choice: the paper has the sum over the core set, with which fewer pairs enter as it grows.

    A fit begins with f = g apart from what λ₁ pushes. Before the first one every pair has width 1.

    Args:
        size, torso, seed: see `Width`.
        capacity: pairs of the core set; the newest stay.
        steps, batch_size, lr: of a fit.
        away, push, beta: λ, λ₁ and β.
    """

    core: Tensor
    copies: Tensor
    scale: Tensor
    mean: Tensor

    def __init__(
        self,
        *,
        size: int,
        torso: TorsoChoice,
        seed: int,
        capacity: int = 20_000,
        steps: int = 200,
        batch_size: int = 160,
        lr: float = 1e-3,
        away: float = 0.1,
        push: float = 0.01,
        beta: float = 0.1,
    ):
        super().__init__()
        self.capacity, self.steps, self.batch_size, self.away, self.push, self.beta = capacity, steps, batch_size, away, push, beta
        counts(self, capacity=1, steps=1, batch_size=1)
        in_range(self, away=(0, None), push=(0, None), beta=(0, None))
        self.adam = Adam(lr=lr, max_grad_norm=5.0)
        spec = Spec((size,), torch.float32, 1, 0)
        self.fitted, self.fixed = (OutputNetwork(spec, torso, 1, None, unit=False) for _ in range(2))
        for network in (self.fitted, self.fixed):
            initialise_with_gains(network, seed, "width", torso.weight_norm)  # the same weights
        self.register_buffer("core", torch.zeros(capacity, size))
        for name, value in {"copies": torch.zeros(capacity), "scale": torch.zeros(()), "mean": torch.zeros(())}.items():
            self.register_buffer(name, value)

    def differences(self, pairs: Tensor) -> Tensor:
        """f − g, (*B, F) -> (*B,)"""
        return (self.fitted.outputs(pairs) - self.fixed.outputs(pairs)).squeeze(-1)

    def forward(self, pairs: Tensor) -> Tensor:
        width = (self.differences(pairs).abs() / self.scale.clamp(min=1e-12)).clamp(max=1.0)
        return torch.where(self.scale > 0, width, 1.0)

    def sensitivity(self, pairs: Tensor) -> Tensor:
        return self(pairs).square() / (self.mean + self.beta)

    def grow(self, pairs: Tensor, kept: np.ndarray, copies: np.ndarray, random: np.random.Generator) -> None:
        device = self.core.device
        new, times = pairs[torch.from_numpy(kept).to(device)], torch.from_numpy(copies).float().to(device)
        for buffer, rows in ((self.core, new), (self.copies, times)):
            buffer.copy_(torch.cat([buffer, rows])[-self.capacity :])
        self.fit(pairs, random)
        known = self.copies > 0
        with torch.no_grad():
            self.scale.copy_(self.differences(pairs).abs().max())
            self.mean.copy_((self(self.core).square() * known).sum() / known.sum())

    def fit(self, query: Tensor, random: np.random.Generator) -> None:
        """f from g, on the core set and the newest rollout."""
        self.fitted.load_state_dict(self.fixed.state_dict())
        parameters = list(self.fitted.parameters())
        optimizer, device = self.adam.build(parameters), self.core.device
        share = (self.copies / self.copies.sum()).double().cpu().numpy()
        stored = random.choice(self.capacity, (self.steps, self.batch_size), p=share / share.sum())
        asked = random.integers(len(query), size=(self.steps, self.batch_size))
        for one, other in zip(torch.from_numpy(stored).to(device), torch.from_numpy(asked).to(device)):
            with differentiated(parameters):
                near, far = self.differences(self.core[one]), self.differences(query[other])
                loss = near.square().mean() - self.away * far.square().mean() - self.push * far.mean()
                gradients = torch.autograd.grad(loss, parameters)
            optimizer.step(gradients, 0)
