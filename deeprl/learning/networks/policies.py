"""Stochastic policies with a closed-form density and entropy: categorical for discrete actions, Gaussian for continuous ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import Choice, in_range, one_of
from deeprl.learning.networks.actors import OutputNetwork
from deeprl.learning.networks.blocks import Block
from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.layers import SCHEMES, Init
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.types import Spec


class Policy(OutputNetwork):
    """A policy on rollouts; its outputs are the parameters of a distribution over actions."""

    def greedy(self, outputs: Tensor) -> Tensor:
        """The most probable action, (*B, outputs) -> (*B,) int64 or (*B, D)."""
        raise NotImplementedError

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """log π(a|s), (*B,), of outputs (*B, outputs) and actions as `sampled` gives them."""
        raise NotImplementedError

    def entropy(self, outputs: Tensor) -> Tensor:
        """Entropy of π(·|s), (*B,)."""
        raise NotImplementedError

    def noise(self, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Random numbers for `sampled`, (*size, outputs or D)."""
        raise NotImplementedError

    def sampled(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """An action, (*B,) int64 or (*B, D)."""
        raise NotImplementedError


class CategoricalPolicy(Policy):
    """π = softmax of the outputs. An action is the largest of the outputs plus Gumbel noise."""

    def __init__(self, choice: PolicyChoice, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()):
        super().__init__(spec, torso, spec.num_actions, choice.last_init, unit=False, core=core)

    def greedy(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(-1)

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        return outputs.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        log = outputs.log_softmax(-1)
        return -(log.exp() * log).sum(-1)

    def noise(self, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        exponential = torch.empty((*size, self.last.sizes[-1])).exponential_(generator=generator)
        return -exponential.log()

    def sampled(self, outputs: Tensor, noise: Tensor) -> Tensor:
        return (outputs + noise).argmax(-1)


class FactoredPolicy(Policy):
    """A softmax for each component of an action that is chosen for itself, see `Spec.choices`; the outputs are all logits, (*B, Σ n)."""

    def __init__(self, choice: PolicyChoice, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()):
        super().__init__(spec, torso, sum(spec.choices), choice.last_init, unit=False, core=core)
        self.sizes = list(spec.choices)

    def coded(self, outputs: Tensor) -> Tensor:
        """The choices of the largest outputs, as an action (*B, D)."""
        chosen = [part.argmax(-1) * (2.0 / max(n - 1, 1)) - 1.0 for part, n in zip(outputs.split(self.sizes, -1), self.sizes)]
        return torch.stack(chosen, -1)

    def greedy(self, outputs: Tensor) -> Tensor:
        return self.coded(outputs)

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        logs = []
        for part, n, own in zip(outputs.split(self.sizes, -1), self.sizes, action.unbind(-1)):
            place = ((own + 1.0) * (0.5 * (n - 1))).round().long()
            logs.append(part.log_softmax(-1).gather(-1, place.unsqueeze(-1)).squeeze(-1))
        return torch.stack(logs).sum(0)

    def entropy(self, outputs: Tensor) -> Tensor:
        logs = [part.log_softmax(-1) for part in outputs.split(self.sizes, -1)]
        return -torch.stack([(log.exp() * log).sum(-1) for log in logs]).sum(0)

    def noise(self, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        exponential = torch.empty((*size, sum(self.sizes))).exponential_(generator=generator)
        return -exponential.log()

    def sampled(self, outputs: Tensor, noise: Tensor) -> Tensor:
        return self.coded(outputs + noise)


def normal_log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(x; μ, σ²) of independent components, (*B,), of x and μ (*B, D), log σ (D,) or (*B, D)."""
    scaled = (x - mean) * (-log_std).exp()
    return (-0.5 * scaled.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


class Deviations(Block):
    """log σ of a Gaussian, the same in every state: (1, D).

    Args:
        bounds: to which it goes back after an update, because beyond them its gradient is 0.
    """

    def __init__(self, dimension: int, initial: float, bounds: tuple[float, float] | None = None):
        super().__init__()
        self.bounds = bounds
        self.add("log_std", (1, dimension), Init("constant", value=initial))

    @torch.no_grad()
    def project_(self) -> None:
        if self.bounds is not None:
            self.get_parameter("log_std").clamp_(*self.bounds)

    def layers(self, outputs: bool) -> Sequence[int]:
        return ()  # there are no weights to normalise


class GaussianPolicy(Policy):
    """a = μ(s) + σ ξ, σ = exp(log σ₀), or exp(log σ₀ + h(s)) with outputs h of the network. It is not squashed: the environment layer clips
    actions to [−1, 1], and log π is that of the action before it.

    Args:
        of_state: whether σ depends on the state.
        bounds: of log σ; without them it is free.
    """

    def __init__(
        self,
        choice: PolicyChoice,
        spec: Spec,
        torso: TorsoChoice,
        core: CoreChoice = Memoryless(),
        *,
        of_state: bool = False,
        bounds: tuple[float, float] | None = None,
    ):
        super().__init__(spec, torso, spec.action_dim * (1 + of_state), choice.last_init, unit=False, core=core)
        self.dim, self.of_state, self.bounds = spec.action_dim, of_state, bounds
        self.deviations = Deviations(spec.action_dim, choice.log_std, None if of_state else bounds)

    @property
    def log_std(self) -> Tensor:
        """log σ₀, (D,)"""
        return self.deviations.log_std[0]  # type: ignore[index]

    def parts(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """μ (*B, D) and log σ, (*B, D) of the state, else (D,)."""
        mean, log_std = outputs, self.log_std
        if self.of_state:
            mean, change = outputs.chunk(2, -1)
            log_std = log_std + change
        return mean, log_std.clamp(*self.bounds) if self.bounds else log_std

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


@dataclass(frozen=True)
class PolicyChoice(Choice):
    """The policy that follows from the actions: categorical, one categorical for each component, or Gaussian.

    Args:
        last_init: initialiser of the last layer; null takes the torso's.
        log_std: initial log σ of a Gaussian.
    """

    last_init: str | None = "orthogonal_small"
    log_std: float = 0.0

    def __post_init__(self):
        one_of(self, last_init=(None, *SCHEMES))
        in_range(self, log_std=(-10, 10))

    def build(self, spec: Spec, torso: TorsoChoice, core: CoreChoice = Memoryless()) -> Policy:
        """
        Args:
            torso: choice of the features.
            core: what remembers them.
        """
        kind = CategoricalPolicy if spec.num_actions else FactoredPolicy if spec.choices else GaussianPolicy
        return kind(self, spec, torso, core)
