"""Heads with one number for each action, and the base class of all heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from deeprl.choice import Choice, Part, in_range, one_of
from deeprl.learning.networks.layers import SCHEMES
from deeprl.learning.networks.mlp import MLP, NoisyMLP
from deeprl.learning.networks.unit_norm import UnitMLP
from deeprl.learning.values.losses import huber, squared
from deeprl.learning.values.scalar import ScalarValues
from deeprl.types import NetworkNoise

DISTANCES = {"squared": squared, "huber": huber}


@dataclass(frozen=True)
class HeadChoice(Choice):
    """Base class of heads: the settings that all of them share.

    Args:
        dueling: a stream for the state's value and one for the advantages (Wang et al., 2016), for each atom of a distribution.
        noisy: factorised Gaussian noise in every layer of the head (Fortunato et al., 2018).
        sigma: initial scale of that noise.
        init, last_init: initialisers of the hidden layers and the last one; null takes the torso's. Noisy layers have their own.
        layer_norm: normalise the hidden layers of the head before their ReLU.
        unit: weights of length 1 for each unit of the head, projected after each update; biases are free.
    """

    dueling: bool = False
    noisy: bool = False
    sigma: float = 0.5
    init: str | None = None
    last_init: str | None = None
    layer_norm: bool = False
    unit: bool = False

    def __post_init__(self):
        in_range(self, sigma=(0, None))
        one_of(self, init=(None, *SCHEMES), last_init=(None, *SCHEMES))
        if self.noisy and self.last_init is not None:
            raise ValueError(
                f"last_init must be null in a noisy head, not {self.last_init!r}, because noisy layers have initial weights of their own"
            )
        if self.unit and self.noisy:
            raise ValueError("unit must be false in a noisy head, because weights of mean plus noise have no fixed length")

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest return that the head can predict."""
        return -math.inf, math.inf

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        """Offers. `signed` is among them only if returns of both signs can be predicted, because bounds that start at 0 would cut off a
        negative bonus without a message."""
        low, high = self.bounds
        return frozenset({"returns", "signed"} if low < 0 < high else {"returns"})

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        raise NotImplementedError

    def share(self, features: int, torsos: int, init: str) -> nn.Module | None:
        """Module of the head that is shared like the torso, see `ValueNetwork`; None: there is none."""
        return None

    def trunk(self, features: int, hidden: Sequence[int], torsos: int, init: str) -> MLP:
        """Hidden layers that all heads of a chain share, see `Networks.chained`. They have no noise."""
        kind = UnitMLP if self.unit else MLP
        return kind(torsos, [features, *hidden], activate_last=True, init=self.init or init, layer_norm=self.layer_norm)

    def check(self, rewards: Part) -> None:
        """
        Raises:
            ValueError: the head cannot represent the returns of these rewards.
        """


def under(noise: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Entries whose name starts with a prefix, under the rest of the name."""
    return {name[len(prefix) :]: value for name, value in noise.items() if name.startswith(prefix)} if noise else noise


class Streams(nn.Module):
    """The layers of a head: (torsos or 1, B, F) -> (n, B, A, N).

    Args:
        choice: kind of the layers.
        shape: (A, N), number of actions and of outputs per action.
    """

    def __init__(self, choice: HeadChoice, features: int, hidden: Sequence[int], shape: tuple[int, int], n: int, init: str):
        super().__init__()
        self.shape, self.dueling, init = shape, choice.dueling, choice.init or init

        def mlp(outputs: int) -> MLP:
            sizes = [features, *hidden, outputs]
            if choice.noisy:
                return NoisyMLP(n, sizes, activate_last=False, sigma0=choice.sigma, layer_norm=choice.layer_norm)
            kind = UnitMLP if choice.unit else MLP
            return kind(n, sizes, activate_last=False, init=init, last_init=choice.last_init, layer_norm=choice.layer_norm)

        self.advantage = mlp(shape[0] * shape[1])  # without `dueling` the only stream: Q itself. The name is part of checkpoints
        if choice.dueling:
            self.value = mlp(shape[1])

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the standard normal numbers for noisy layers, the same for the whole batch."""
        return {
            f"{name}.{key}": shape
            for name, mlp in self.named_children()
            if isinstance(mlp, NoisyMLP)
            for key, shape in mlp.noise_shapes().items()
        }

    def streams(self, features: Tensor, noise: NetworkNoise) -> Tensor:
        """Outputs (n, B, A, N): the only stream, or V + advantage − mean over actions of advantage (Wang et al., 2016, equation 9)."""
        outputs = self._run("advantage", features, noise).unflatten(-1, self.shape)
        if self.dueling:
            outputs = self._run("value", features, noise).unsqueeze(-2) + outputs - outputs.mean(-2, keepdim=True)
        return outputs

    def _run(self, name: str, features: Tensor, noise: NetworkNoise) -> Tensor:
        mlp = getattr(self, name)
        return mlp(features, under(noise.layers, f"{name}.") or None) if isinstance(mlp, NoisyMLP) else mlp(features)


@dataclass(frozen=True)
class Scalar(HeadChoice):
    """One value for each action.

    Args:
        loss: `squared` (Dopamine, i-QN, CleanRL) or `huber` (Nature DQN's error clipping).
    """

    loss: str = "squared"

    def __post_init__(self):
        super().__post_init__()
        one_of(self, loss=tuple(DISTANCES))

    @property
    def distance(self) -> Callable[[Tensor], Tensor]:
        """D: error -> loss, of one shape. A head with a distance of its own overrides it."""
        return DISTANCES[self.loss]

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        return super().offers | ({"scalar", "residual"} if self.distance is squared else {"scalar"})

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        return ScalarHead(self, features, hidden, actions, n, init)


class ScalarHead(Streams):
    """Features (torsos or n, B, F) -> `ScalarValues` with (n, B, A)."""

    def __init__(self, choice: Scalar, features: int, hidden: Sequence[int], actions: int, n: int, init: str):
        super().__init__(choice, features, hidden, (actions, 1), n, init)
        self.distance = choice.distance

    def forward(self, features: Tensor, noise: NetworkNoise) -> ScalarValues:
        return ScalarValues(self.streams(features, noise).squeeze(-1), self.distance, features)
