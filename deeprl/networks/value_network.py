"""Networks of discrete agents: a torso, and K heads that turn its features into `Values`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.networks.blocks import REMEDY, initialise
from deeprl.networks.heads import Scalar
from deeprl.networks.weight_norm import weight_normalise
from deeprl.types import QUIET, NetworkNoise, Spec
from deeprl.values.returns import Values


class ValueNetwork(nn.Module):
    """(*B, *obs) -> `Values`.

    Args:
        torso: (B, *obs) -> (torsos, B, F), with the attribute `features`, F.
        head: (torsos or 1, B, F), noise -> `Values`.
        obs_dims: how many axes one observation has.
        index: the torso that head k reads, if there are several but fewer than heads.
        fractions: what a head with an input of its own shares between iterations, as it shares the torso: (torsos, B, F) and fractions
            (B, n) -> (torsos, B·n, F).
        beside: what an auxiliary loss reads from the features, stacked as the torso is, so that a chain moves it with the torso.
    """

    def __init__(
        self,
        torso: nn.Module,
        head: nn.Module,
        obs_dims: int,
        index: Sequence[int] | None = None,
        fractions: nn.Module | None = None,
        beside: nn.Module | None = None,
    ):
        super().__init__()
        self.torso, self.head, self.obs_dims, self.fractions, self.beside = torso, head, obs_dims, fractions, beside
        self.index = list(index) if index is not None else None

    def noise(self, size: tuple[int, ...], generator, role: str) -> NetworkNoise:
        """What one evaluation draws, for many at once; `size` is (updates, B) or (ticks, M).

        Args:
            role: of the evaluation: "prediction" (it will be regressed), "target", or "acting".
        """
        shapes = self.head.noise_shapes()  # type: ignore[operator]  # every head has them
        layers = {name: torch.randn((size[0], *shape), generator=generator) for name, shape in shapes.items()}
        fractions = {} if self.fractions is None else self.fractions.noise(size, generator, role)  # type: ignore[operator]
        return NetworkNoise(layers, fractions)

    def features(self, obs: Tensor) -> Tensor:
        """(torsos, *B, F), before any head chooses its torso."""
        lead = obs.shape[: obs.dim() - self.obs_dims]
        return self.torso(obs.flatten(0, len(lead) - 1)).unflatten(1, lead)

    def forward(self, obs: Tensor, noise: NetworkNoise = QUIET) -> Values:
        lead = obs.shape[: obs.dim() - self.obs_dims]
        features = self.torso(obs.flatten(0, len(lead) - 1) if len(lead) > 1 else obs)
        if self.fractions is None:
            values = self.head(self.served(features), noise)
        else:
            share = self.fractions
            values = self.head(self.served(features), noise, lambda fractions: self.served(share(features, fractions)))
        return values.unflatten(lead) if len(lead) > 1 else values

    def served(self, features: Tensor) -> Tensor:
        """One torso for all heads, or one each."""
        return features if self.index is None else features[self.index]


def quiet(noise: NetworkNoise) -> NetworkNoise:
    """For evaluation: without noisy layers, which explore. Inputs stay."""
    return NetworkNoise({}, noise.fractions)


@dataclass(frozen=True)
class Networks:
    """Builds value networks over one torso; the weights of each follow from the seed and the name of its place.

    Args:
        spec: spaces of the environment.
        torso: choice that builds the features.
        seed: of the initial weights.
    """

    spec: Spec
    torso: Any
    seed: int

    def chained(
        self,
        head: Any,
        share: Callable[..., nn.Module | None],
        beside: Callable[..., nn.Module | None],
        place: str,
        stack: int,
        torsos: int,
        index: list[int] | None = None,
    ) -> ValueNetwork:
        """A network of a chain: `stack` heads over `torsos` torsos, head k reads torso `index[k]`.

        Args:
            head: choice that builds the heads.
            share: what of the head goes with the torso, see `HeadChoice.share`.
            beside: what an auxiliary loss reads, see `Auxiliary.beside`.
        """
        body = self.torso.build(self.spec, torsos)
        for name, parameter in body.named_parameters():
            if not parameter.shape[:1] == (torsos,):  # a chain copies entries of this axis
                raise ValueError(f"torso.{name} has shape {tuple(parameter.shape)}: its first axis must be the stack of {torsos}: {REMEDY}")
        top = head.build(body.features, self.torso.head_hidden, self.spec.num_actions, stack, self.torso.init)
        return self._started(body, top, place, index, share(body.features, torsos, self.torso.init), beside(body, torsos))

    def scalars(self, place: str, stack: int, torsos: int, outputs: int) -> ValueNetwork:
        """A part's own network: `stack` heads, each with so many scalars."""
        body = self.torso.build(self.spec, torsos)
        top = Scalar().build(body.features, self.torso.head_hidden, outputs, stack, self.torso.init)
        return self._started(body, top, place)

    def _started(self, body: Any, top: nn.Module, place: str, *others: Any) -> ValueNetwork:
        network = ValueNetwork(body, top, len(self.spec.obs_shape), *others)
        initialise(network, self.seed, place)
        weight_normalise(network, self.torso.weight_norm)
        return network
