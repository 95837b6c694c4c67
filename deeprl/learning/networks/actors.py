"""Policies for continuous actions in [-1, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeprl.choice import Choice, in_range, one_of
from deeprl.learning.networks.blocks import has_dropout, has_statistics, learning
from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.layers import SCHEMES
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.unit_norm import UnitMLP
from deeprl.learning.networks.unrolled import Unrolled
from deeprl.types import Batch, Spec


class OutputNetwork(nn.Module):
    """A torso, and an MLP that turns its features into numbers for each observation.

    Args:
        torso: choice that builds the features; its `head_hidden` are hidden layers after them.
        outputs: numbers for each observation.
        last_init: initialiser of the last layer; None takes the torso's.
        unit: weights of length 1 for each unit after the torso, projected after each update; biases are free.
        core: what remembers between torso and MLP.
    """

    def __init__(self, spec: Spec, torso: TorsoChoice, outputs: int, last_init: str | None, unit: bool, core: CoreChoice = Memoryless()):
        super().__init__()
        self.obs_dims = len(spec.obs_shape)
        self.torso = torso.build(spec, 1)
        self.core = core.build(self.torso.features, 1)
        if has_dropout(self.torso):
            raise ValueError("dropout must be 0 in the torso of a policy, because dropout is for value networks")
        if self.core is not None and has_statistics(self.torso):
            raise ValueError(f"{type(torso).__name__} has batch statistics, which agent/core does not know: choose another torso")
        sizes = ((self.core or self.torso).features, *torso.head_hidden, outputs)
        self.last = (UnitMLP if unit else MLP)(1, sizes, activate_last=False, init=torso.init, last_init=last_init)

    def outputs(self, obs: Tensor) -> Tensor:
        """(*B, *obs) -> (*B, outputs)"""
        lead = obs.shape[: obs.dim() - self.obs_dims]
        return self.last(self.torso(obs.flatten(0, len(lead) - 1)))[0].unflatten(0, lead)

    def of_features(self, features: Tensor, lead: torch.Size) -> Tensor:
        """Features after the core, (1, B, F), of observations with the leading axes `lead` -> (*B, outputs)."""
        return self.last(features)[0].unflatten(0, lead)

    def unrolled(self, batch: Batch, state: Tensor) -> Unrolled:
        """Features after the core over a batch of sequences, from the state (B, S) before the first row."""
        assert self.core is not None
        return Unrolled(self.torso, self.core, batch, state)

    def advance(self, obs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the core: (M, *obs), (M, S) -> (M, outputs), new state (M, S)."""
        assert self.core is not None
        features, after = self.core.step(self.core.prepare(self.torso(obs)), self.core.of_rows(state))
        return self.of_features(features, obs.shape[:1]), after[0]


class Actor(OutputNetwork):
    """The policy of an actor-critic; its outputs are the parameters of the policy."""

    stochastic = False
    """Whether `sample` needs noise and has a density"""

    def forward(self, obs: Tensor) -> Tensor:
        """The policy's action without noise, (*B, *obs) -> (*B, D)."""
        return self.greedy(self.outputs(obs))

    def sample(self, obs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """An action (*B, D) and the logarithm of its density (*B,); None without a density.

        Args:
            noise: (*B, D) standard normal numbers for a stochastic policy.
        """
        return self.drawn(self.outputs(obs), noise)

    def outputs_with_statistics(self, obs: Tensor, counted: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """`outputs` in the actor's own loss, and new running statistics of the torso, see `learning`; `counted` is (*B,) here."""
        features, statistics = self.learned_features(obs, counted)
        return self.of_features(features, obs.shape[: obs.dim() - self.obs_dims]), statistics

    def learned_features(self, obs: Tensor, counted: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (1, B, F), and the statistics, as in `outputs_with_statistics`."""
        return learning(self.torso, obs.flatten(0, -1 - self.obs_dims), counted=None if counted is None else counted.flatten())

    def at(self, features: Tensor, lead: torch.Size) -> Actor:
        """The actor where its core has given these features, (1, B, F), whatever the observation."""
        return Recalled(self, self.of_features(features, lead))  # type: ignore[return-value]  # as far as targets read it

    def greedy(self, outputs: Tensor) -> Tensor:
        """Action without noise, (*B, outputs) -> (*B, D)."""
        raise NotImplementedError

    def drawn(self, outputs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `sample`."""
        return self.greedy(outputs), None

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """log π(a|s), (*B,), of outputs (*B, outputs) and any actions (*B, D) in [-1, 1]; of a policy with a density."""
        raise NotImplementedError(f"{type(self).__name__} has no density")


@dataclass(frozen=True)
class Recalled:
    """An actor whose outputs (*B, outputs) are known."""

    actor: Actor
    outputs: Tensor

    def sample(self, obs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.actor.drawn(self.outputs, noise)


class DeterministicActor(Actor):
    """a = tanh(output), see `Deterministic`."""

    def greedy(self, outputs: Tensor) -> Tensor:
        return outputs.tanh()


class SquashedGaussianActor(Actor):
    """u = μ(s) + σ(s) ξ,   a = tanh(u),   log π(a|s) = Σ_i [log N(u_i; μ_i, σ_i) − log(1 − a_i²)]

    with log(1 − tanh² u) = 2 (log 2 − u − softplus(−2u)), which stays exact where tanh rounds to ± 1."""

    stochastic = True

    def __init__(self, choice: SquashedGaussian, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()):
        super().__init__(spec, torso, 2 * spec.action_dim, choice.last_init, choice.unit, core)
        self.choice = choice

    def parameters_of(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log σ of u, (*B, D) each."""
        mean, raw = outputs.chunk(2, -1)
        low, high = self.choice.low, self.choice.high
        if self.choice.bounds == "clamp":
            return mean, raw.clamp(low, high)
        return mean, low + 0.5 * (high - low) * (raw.tanh() + 1.0)

    def greedy(self, outputs: Tensor) -> Tensor:
        return outputs.chunk(2, -1)[0].tanh()

    def drawn(self, outputs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        assert noise is not None, "a stochastic policy without noise"
        mean, log_std = self.parameters_of(outputs)
        u = mean + log_std.exp() * noise
        return u.tanh(), log_density(u, noise, log_std)

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """An action at a bound, whose u is infinite, counts as one that is 1e-6 inside."""
        mean, log_std = self.parameters_of(outputs)
        u = action.clamp(-1.0 + 1e-6, 1.0 - 1e-6).atanh()
        return log_density(u, (u - mean) * (-log_std).exp(), log_std)


def log_density(u: Tensor, noise: Tensor, log_std: Tensor) -> Tensor:
    """log π(tanh u), (*B, D) -> (*B,), for u = μ + σ · noise."""
    normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
    return (normal - 2.0 * (math.log(2) - u - F.softplus(-2.0 * u))).sum(-1)


class ActorChoice(Choice):
    """An actor of continuous actions: the contract of the slot `agent/actor`."""

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Actor:
        """
        Args:
            torso: choice of the features, from observations.
            core: what remembers them.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Deterministic(ActorChoice):
    """Deterministic policy a = tanh(f(s)) (DDPG, TD3). `last_init=small` starts near zero as in DDPG; TD3's authors keep PyTorch's
    default. `unit`: see `OutputNetwork`."""

    last_init: str | None = None
    unit: bool = False

    offers = frozenset({"actor"})

    def __post_init__(self):
        one_of(self, last_init=(None, *SCHEMES))

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Actor:
        return DeterministicActor(spec, torso, spec.action_dim, self.last_init, self.unit, core)


@dataclass(frozen=True)
class SquashedGaussian(ActorChoice):
    """A Gaussian squashed by tanh (SAC: Haarnoja et al., 2018).

    Args:
        bounds: of log σ: `clamp` cuts it off (softlearning, Stable-Baselines3), `rescale` maps a tanh to the interval (pytorch_sac,
            CleanRL).
        low, high: the interval.
        last_init: initialiser of the last layer; null takes the torso's.
        unit: see `OutputNetwork`.
    """

    bounds: str = "clamp"
    low: float = -20.0
    high: float = 2.0
    last_init: str | None = None
    unit: bool = False

    offers = frozenset({"actor", "density"})

    def __post_init__(self):
        one_of(self, bounds=("clamp", "rescale"), last_init=(None, *SCHEMES))
        in_range(self, low=(None, None), high=(None, None))
        if not self.high > self.low:
            raise ValueError(f"high must be above low, not {self.high} and {self.low}")

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Actor:
        return SquashedGaussianActor(self, spec, torso, core)
