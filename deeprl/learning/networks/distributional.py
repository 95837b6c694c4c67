"""Heads that predict distributions of returns: C51, QR-DQN, IQN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.heads import HeadChoice, Streams
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.values.distributions import ERRORS, CategoricalValues, ImplicitValues, QuantileValues
from deeprl.types import NetworkNoise


@dataclass(frozen=True)
class Categorical(HeadChoice):
    """Probabilities of evenly spaced returns (C51: Bellemare, Dabney, Munos, 2017). The default of ± 10 assumes clipped rewards.

    Args:
        atoms: N.
        low, high: smallest and largest return.
    """

    init: str | None = "quantile"
    atoms: int = 51
    low: float = -10.0
    high: float = 10.0

    def __post_init__(self):
        super().__post_init__()
        in_range(self, atoms=(2, None), low=(None, None), high=(None, None))
        if not self.high > self.low:
            raise ValueError(f"high must be above low, not {self.high} and {self.low}")

    @property
    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        return super().offers | {"residual", "distribution"}

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        return CategoricalHead(self, features, hidden, actions, n, init)


class CategoricalHead(Streams):
    """Features (torsos or n, B, F) -> `CategoricalValues` with logits (n, B, A, N)."""

    support: Tensor

    def __init__(self, choice: Categorical, features: int, hidden: Sequence[int], actions: int, n: int, init: str):
        super().__init__(choice, features, hidden, (actions, choice.atoms), n, init)
        self.low, self.high = float(choice.low), float(choice.high)
        support = torch.linspace(self.low, self.high, choice.atoms, dtype=torch.float64).float()
        self.register_buffer("support", support, persistent=False)  # follows from the configuration

    def forward(self, features: Tensor, noise: NetworkNoise) -> CategoricalValues:
        return CategoricalValues(self.streams(features, noise), self.support, self.low, self.high, features)


@dataclass(frozen=True)
class Quantile(HeadChoice):
    """Quantiles of the return at fixed fractions (i − ½) / N (QR-DQN: Dabney, Rowland, Bellemare, Munos, 2018).

    Args:
        quantiles: N.
        kappa: error above which the loss is linear; 0 is the plain quantile loss.
        error: which |error| priorities follow: that of the means, or `pairs`, a sum over predicted and a mean over target quantiles.
    """

    init: str | None = "quantile"
    quantiles: int = 200
    kappa: float = 1.0
    error: str = "means"

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        return super().offers | {"quantiles", "distribution"}

    def __post_init__(self):
        super().__post_init__()
        in_range(self, quantiles=(1, None), kappa=(0, None))
        one_of(self, error=tuple(ERRORS))

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        return QuantileHead(self, features, hidden, actions, n, init)


class QuantileHead(Streams):
    """Features (torsos or n, B, F) -> `QuantileValues` with (n, B, A, N)."""

    midpoints: Tensor

    def __init__(self, choice: Quantile, features: int, hidden: Sequence[int], actions: int, n: int, init: str):
        super().__init__(choice, features, hidden, (actions, choice.quantiles), n, init)
        self.kappa, self.error = choice.kappa, ERRORS[choice.error]
        self.register_buffer("midpoints", midpoints(choice.quantiles), persistent=False)

    def forward(self, features: Tensor, noise: NetworkNoise) -> QuantileValues:
        return QuantileValues(self.streams(features, noise), self.midpoints, self.kappa, features, self.error)


@dataclass(frozen=True)
class ImplicitQuantile(HeadChoice):
    """Quantiles at fractions that are an input of the network (IQN: Dabney, Ostrovski, Silver, Munos, 2018):

        Z_τ(s, ·) = head(ψ(s) ⊙ φ(τ)),    φ(τ) = ReLU(W c(τ) + b),    c(τ)_i = cos(π i τ),    τ ~ U(0, 1)

    Each evaluation of the networks has its own fractions, different for each sample of the batch and the same for all k of a chain (the
    i-QN authors share them over the batch too). A chain shares φ like the torso. An evaluation of the agent draws fractions too, as in
    Dopamine.

    Args:
        samples: N, number of fractions of a prediction.
        target_samples: N', number of fractions of a target.
        policy_samples: number of fractions for greedy actions and policies, in targets and when acting (the paper's K).
        cosines: number of i.
        first: smallest i: 1 in Dopamine, i-QN, DQN Zoo and the paper's runs (told to PFRL's authors), 0 in the paper's equation 4.
        kappa: error above which the loss is linear; 0 is the plain quantile loss.
        error: which |error| priorities follow: that of the means, or `pairs`, a sum over predicted and a mean over target quantiles.
    """

    init: str | None = "quantile"
    samples: int = 64
    target_samples: int = 64
    policy_samples: int = 32
    cosines: int = 64
    first: int = 1
    kappa: float = 1.0
    error: str = "means"

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        return super().offers | {"quantiles", "distribution"}

    def __post_init__(self):
        super().__post_init__()
        counts = dict.fromkeys(("samples", "target_samples", "policy_samples", "cosines"), (1, None))
        in_range(self, first=(0, None), kappa=(0, None), **counts)
        one_of(self, error=tuple(ERRORS))

    def share(self, features: int, torsos: int, init: str) -> nn.Module:
        return Fractions(self, features, torsos, self.init or init)

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        return ImplicitHead(self, features, hidden, actions, n, init)


class Fractions(nn.Module):
    """The product ψ ⊙ φ(τ): features (torsos, B, F) and fractions (B, n) -> (torsos, B·n, F). It also draws the fractions."""

    def __init__(self, choice: ImplicitQuantile, features: int, torsos: int, init: str):
        super().__init__()
        self.choice = choice
        self.embedding = MLP(torsos, [choice.cosines, features], activate_last=True, init=init)

    def noise(self, size: tuple[int, ...], generator, role: str) -> dict[str, Tensor]:
        """Fractions, see `ValueNetwork.noise`. `ImplicitValues` explains the two sets."""
        drawn = {"policy": torch.rand((*size, self.choice.policy_samples), generator=generator)}
        if role != "acting":
            number = self.choice.samples if role == "prediction" else self.choice.target_samples
            drawn["samples"] = torch.rand((*size, number), generator=generator)
        return drawn

    def forward(self, features: Tensor, fractions: Tensor) -> Tensor:
        angles = cosines(fractions, self.choice.cosines, self.choice.first)  # (B, n, cosines)
        embedded = self.embedding(angles.flatten(0, 1)).unflatten(1, fractions.shape)  # (torsos, B, n, F)
        return (features.unsqueeze(2) * embedded).flatten(1, 2)


class ImplicitHead(Streams):
    """Features (torsos or n, B, F) -> values at N drawn fractions, (n, B, A, N)."""

    def __init__(self, choice: ImplicitQuantile, features: int, hidden: Sequence[int], actions: int, n: int, init: str):
        super().__init__(choice, features, hidden, (actions, 1), n, init)
        self.kappa, self.error = choice.kappa, ERRORS[choice.error]
        self.numbers = {"policy": choice.policy_samples, "samples": choice.samples}

    def forward(self, features: Tensor, noise: NetworkNoise, modulated: Callable[[Tensor], Tensor]) -> ImplicitValues:
        """`modulated`: fractions (B, n) -> ψ ⊙ φ(τ), (torsos or 1, B·n, F)."""

        def evaluate(fractions: Tensor) -> Tensor:
            quantiles = self.streams(modulated(fractions), noise)  # (K, B·n, A, 1)
            return quantiles.unflatten(1, fractions.shape).squeeze(-1).transpose(2, 3)  # (K, B, A, n)

        policy_fractions, sample_fractions = (self._fractions(name, noise, features) for name in ("policy", "samples"))
        return ImplicitValues(evaluate, policy_fractions, sample_fractions, self.kappa, features, error=self.error)

    def _fractions(self, name: str, noise: NetworkNoise, features: Tensor) -> Tensor:
        """Fractions (B, n), drawn for every row of a sequence, or once for all of its rows. Midpoints replace a missing draw."""
        drawn = noise.fractions.get(name)
        if drawn is None:
            drawn = midpoints(self.numbers[name], features.device).unsqueeze(0)
        drawn = drawn.flatten(0, -2)
        return drawn.repeat(features.shape[1] // drawn.shape[0], 1)


def midpoints(number: int, device: torch.device | None = None) -> Tensor:
    """(i − ½) / N for i = 1 … N."""
    return (torch.arange(number, device=device) + 0.5) / number


def cosines(fractions: Tensor, number: int, first: int) -> Tensor:
    """cos(π i τ) for i = first … first + number − 1: (...) -> (..., number)."""
    i = torch.arange(first, first + number, dtype=fractions.dtype, device=fractions.device)
    return (math.pi * fractions.unsqueeze(-1) * i).cos()
