"""Value networks: a torso, and K heads that turn its features into `Values`. Critics are value networks with one action."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.learning.networks.blocks import REMEDY, Torso, has_dropout, has_statistics, learning
from deeprl.learning.networks.cores import WITHOUT_STATE, Core, CoreChoice, Memoryless
from deeprl.learning.networks.heads import HeadChoice, Scalar, under
from deeprl.learning.networks.mapped import Mapped
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.unrolled import Unrolled
from deeprl.learning.networks.weight_norm import initialise_with_gains
from deeprl.learning.values.returns import Values
from deeprl.types import QUIET, Batch, NetworkNoise, Spec


class ValueNetwork(nn.Module):
    """A torso with K heads, (*B, *obs) -> `Values`.

    Args:
        torso: (B, *obs) -> (torsos, B, F), with the attribute `features`, F.
        head: (torsos or 1, B, F), noise -> `Values`; an implicit one takes a third argument, fractions (B, n) -> (torsos or 1, B·n, F).
        obs_dims: number of axes of one observation.
        index: torso of each head, if there are several torsos but fewer than heads.
        fractions: module that an implicit head shares between iterations like the torso: (torsos, B, F) and fractions (B, n) -> (torsos,
            B·n, F).
        beside: modules of an auxiliary loss on the features, which a chain copies with the torso, see `Auxiliary.beside`.
        ensemble: E, entries of the stack that belong to one iteration.
        core: what remembers between the torsos and their heads, with a stack entry for each torso; None: nothing.
    """

    index: Tensor | None

    def __init__(
        self,
        torso: Torso,
        head: nn.Module,
        obs_dims: int,
        index: Sequence[int] | None = None,
        fractions: nn.Module | None = None,
        beside: nn.Module | None = None,
        ensemble: int = 1,
        core: Core | None = None,
    ):
        super().__init__()
        self.ensemble, self.core = ensemble, core
        self.torso, self.head, self.obs_dims, self.fractions, self.beside = torso, head, obs_dims, fractions, beside
        # a buffer, because a list would be copied to the device at every evaluation; not saved, because it follows from the chain
        self.register_buffer("index", None if index is None else torch.tensor(index), persistent=False)

    def noise(self, size: tuple[int, ...], generator, role: str) -> NetworkNoise:
        """Random numbers of many evaluations; `size` is (updates, B) or (ticks, M).

        Args:
            role: use of the evaluation: "prediction" (for the regression), "target" or "acting".
        """
        shapes = self.head.noise_shapes()  # type: ignore[operator]  # every head has them
        layers = {name: torch.randn((size[0], *shape), generator=generator) for name, shape in shapes.items()}
        if has_dropout(self.torso) and role != "acting":  # dropout is for regression, not for exploration
            layers |= {f"torso.{name}": numbers for name, numbers in self.torso.noise(size[0], generator).items()}
        fractions = {} if self.fractions is None else self.fractions.noise(size, generator, role)  # type: ignore[operator]
        return NetworkNoise(layers, fractions)

    def features(self, obs: Tensor) -> Tensor:
        """Features of all torsos, (torsos, *B, F).

        Raises:
            ValueError: the network has a core, whose features depend on earlier observations.
        """
        if self.core is not None:
            raise ValueError(WITHOUT_STATE)
        lead = obs.shape[: obs.dim() - self.obs_dims]
        return self.torso(obs.flatten(0, len(lead) - 1)).unflatten(1, lead)

    def learned_features(self, *obs: Tensor, noise: NetworkNoise, counted: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Features of several observations (*B, *obs) in one evaluation of all torsos, (torsos, n·B, F), and new statistics of the torso,
        see `learning`; `counted` is (*B,) here."""
        rows = torch.cat([each.flatten(0, each.dim() - self.obs_dims - 1) for each in obs])
        counted = None if counted is None else counted.flatten().repeat(len(obs))
        return learning(self.torso, rows, *self.torso_noise(noise), counted=counted)

    def torso_noise(self, noise: NetworkNoise) -> list[dict[str, Tensor]]:
        """Arguments of the torso after the observations."""
        own = under(noise.layers, "torso.")
        return [own] if own else []

    def forward(self, obs: Tensor, noise: NetworkNoise = QUIET) -> Values:
        if self.core is not None:
            raise ValueError(WITHOUT_STATE)
        lead = obs.shape[: obs.dim() - self.obs_dims]
        features = self.torso(obs.flatten(0, len(lead) - 1) if len(lead) > 1 else obs, *self.torso_noise(noise))
        return self.values(features, lead, noise)

    def values(self, features: Tensor, lead: torch.Size, noise: NetworkNoise) -> Values:
        """The heads' answer to features (torsos, B, F) of observations with the leading axes `lead`, *B."""
        if self.fractions is None:
            values = self.head(self.served(features), noise)
        else:
            embedding = self.fractions  # ψ ⊙ φ(τ)
            values = self.head(self.served(features), noise, lambda fractions: self.served(embedding(features, fractions)))
        values.features = features  # of the torsos, because a head has one entry for each network that it serves
        return values.unflatten(lead) if len(lead) > 1 else values

    def advance(self, obs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the core: (B, *obs), (B, S) -> features (1, B, F) for `values`, new state (B, S)."""
        assert self.core is not None
        features, state = self.core.step(self.core.prepare(self.torso(obs)), self.core.of_rows(state))
        return features, state[0]

    def other(self, unrolled: Unrolled, obs: Tensor, noise: NetworkNoise) -> Values:
        """Values of other inputs (T, B, *obs) in the rows of an unroll of this network."""
        return self.values(unrolled.other(obs, unrolled.before()), obs.shape[:2], noise)

    def unrolled(self, batch: Batch) -> Unrolled:
        """Features of both ends of a batch of sequences, if there is a core."""
        assert self.core is not None
        return Unrolled(self.torso, self.core, batch, batch.extra["state"])

    def served(self, features: Tensor) -> Tensor:
        """Features for the heads, (torsos, B, F) -> (torsos or heads, B, F): of one torso for all heads, or of one torso for each head."""
        return features if self.index is None else features[self.index]


class Trunk(nn.Module):
    """A torso and the hidden layers that all heads share: (*B, *obs) -> (torsos, B, F)."""

    def __init__(self, torso: Torso, hidden: MLP):
        super().__init__()
        if has_statistics(torso) or has_dropout(torso):
            raise ValueError("torso.head_hidden must be [] with a torso that has batch statistics or dropout: widen the torso instead")
        self.torso, self.hidden, self.features = torso, hidden, hidden.features

    def forward(self, obs: Tensor) -> Tensor:
        return self.hidden(self.torso(obs))


def quiet(noise: NetworkNoise) -> NetworkNoise:
    """Noise of an evaluation: without that of noisy layers, because it serves exploration. Fractions stay."""
    return NetworkNoise({}, noise.fractions)


@dataclass(frozen=True)
class Networks:
    """Builder of value networks with one choice of torso; their weights are a function of the seed and the name of their place.

    Args:
        spec: spaces of the environment.
        torso: choice that builds the features.
        seed: of the initial weights.
        core: choice of what remembers.
    """

    spec: Spec
    torso: TorsoChoice
    seed: int
    core: CoreChoice = Memoryless()  # noqa: RUF009 (a frozen choice)

    def chained(
        self,
        head: HeadChoice | Mapped,
        share: Callable[..., nn.Module | None],
        beside: Callable[..., nn.Module | None],
        place: str,
        stack: int,
        torsos: int,
        index: list[int] | None = None,
        ensemble: int = 1,
        trunk: bool = False,
    ) -> ValueNetwork:
        """A network of a chain: `stack` heads over `torsos` torsos, where head k reads torso `index[k]`.

        Args:
            head: choice that builds the heads.
            share: builds the module that the heads share like the torso, see `HeadChoice.share`.
            beside: builds the modules of an auxiliary loss, see `Auxiliary.beside`.
            trunk: whether the heads share their hidden layers too, so that each of them is the last layer alone.
        """
        body, hidden, init = self.torso.build(self.spec, torsos), self.torso.head_hidden, self.torso.init
        if trunk and hidden:
            body, hidden = Trunk(body, head.trunk(body.features, hidden, torsos, init)), ()
        for name, parameter in body.named_parameters():
            if not parameter.shape[:1] == (torsos,):  # a chain copies entries of this axis
                raise ValueError(f"torso.{name} has shape {tuple(parameter.shape)}: its first axis must be the stack of {torsos}: {REMEDY}")
        core = self.core.build(body.features, torsos)
        if core is not None and (has_statistics(body) or has_dropout(body)):
            raise ValueError(
                f"agent/torso={type(self.torso).__name__} has batch statistics or dropout, which agent/core does not know: choose another"
            )
        below = body if core is None else core
        top = head.build(below.features, hidden, self.spec.num_actions, stack, init)
        return self._started(body, top, place, index, share(below.features, torsos, init), beside(below, torsos, stack), ensemble, core)

    def scalars(self, place: str, stack: int, torsos: int, outputs: int) -> ValueNetwork:
        """The network of a part: `stack` heads, each with `outputs` scalars.

        Raises:
            ValueError: the agent has a core, and this network would see single observations.
        """
        if "state" in self.core.needs:
            raise ValueError(WITHOUT_STATE)
        body = self.torso.build(self.spec, torsos)
        top = Scalar().build(body.features, self.torso.head_hidden, outputs, stack, self.torso.init)
        return self._started(body, top, place)

    def _started(self, body: Torso, top: nn.Module, place: str, *others: Any) -> ValueNetwork:
        network = ValueNetwork(body, top, len(self.spec.obs_shape), *others)
        initialise_with_gains(network, self.seed, place, self.torso.weight_norm)
        return network
