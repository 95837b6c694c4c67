"""Networks of discrete agents: a torso, and K heads that turn its features into `Values`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range, one_of
from deeprl.losses import huber, squared
from deeprl.networks.blocks import MLP, NoisyMLP
from deeprl.values import ScalarValues, Values, under

DISTANCES = {"squared": squared, "huber": huber}


class ValueNetwork(nn.Module):
    """(*B, *obs) -> `Values`.

    Args:
        torso: (B, *obs) -> (torsos, B, F).
        head: (torsos or 1, B, F), noise -> `Values`.
        obs_dims: how many axes one observation has.
        index: the torso that head k reads, if there are several but fewer than heads.
        beside: what an auxiliary loss reads from the features, stacked as the torso is, so that a chain moves it with the torso.
    """

    def __init__(
        self, torso: nn.Module, head: nn.Module, obs_dims: int, index: Sequence[int] | None = None, beside: nn.Module | None = None
    ):
        super().__init__()
        self.torso, self.head, self.beside, self.obs_dims = torso, head, beside, obs_dims
        self.index = list(index) if index is not None else None

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        return self.head.noise_shapes()  # type: ignore[operator]  # every head has them

    def features(self, obs: Tensor) -> Tensor:
        """(torsos, *B, F), before any head chooses its torso."""
        lead = obs.shape[: obs.dim() - self.obs_dims]
        return self.torso(obs.flatten(0, len(lead) - 1)).unflatten(1, lead)

    def forward(self, obs: Tensor, noise: dict[str, Tensor]) -> Values:
        lead = obs.shape[: obs.dim() - self.obs_dims]
        features = self.torso(obs.flatten(0, len(lead) - 1) if len(lead) > 1 else obs)
        values = self.head(features if self.index is None else features[self.index], noise)
        return values.unflatten(lead) if len(lead) > 1 else values


@dataclass(frozen=True)
class Scalar(Choice):
    """One value for each action.

    Args:
        loss: `squared` (Dopamine, i-QN, CleanRL) or `huber` (Nature DQN's error clipping).
        dueling: a stream for the state's value and one for the advantages (Wang et al., 2016).
        noisy: factorised Gaussian noise in every layer of the head (Fortunato et al., 2018).
        sigma: initial scale of that noise.
        init, last_init: initialisers of the hidden layers and the last one; null takes the torso's.
    """

    offers = frozenset({"signed"})

    loss: str = "squared"
    dueling: bool = False
    noisy: bool = False
    sigma: float = 0.5
    init: str | None = None
    last_init: str | None = None

    def __post_init__(self):
        one_of(self, loss=tuple(DISTANCES))
        in_range(self, sigma=(0, None))

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        return ScalarHead(self, features, tuple(hidden), actions, n, self.init or init)


class ScalarHead(nn.Module):
    def __init__(self, choice: Scalar, features: int, hidden: tuple[int, ...], actions: int, n: int, init: str):
        super().__init__()
        self.distance, self.dueling = DISTANCES[choice.loss], choice.dueling

        def mlp(outputs: int) -> nn.Module:
            sizes = [features, *hidden, outputs]
            if choice.noisy:
                return NoisyMLP(n, sizes, activate_last=False, sigma0=choice.sigma)
            return MLP(n, sizes, activate_last=False, init=init, last_init=choice.last_init)

        self.advantage = mlp(actions)
        if choice.dueling:
            self.value = mlp(1)

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{name}.{key}": shape
            for name, mlp in self.named_children()
            if isinstance(mlp, NoisyMLP)
            for key, shape in mlp.noise_shapes().items()
        }

    def forward(self, features: Tensor, noise: dict[str, Tensor]) -> ScalarValues:
        q = self._run("advantage", features, noise)  # (K, B, A)
        if self.dueling:
            q = self._run("value", features, noise) + q - q.mean(-1, keepdim=True)
        return ScalarValues(q, self.distance, features)

    def _run(self, name: str, features: Tensor, noise: dict[str, Tensor]) -> Tensor:
        mlp = getattr(self, name)
        return mlp(features, under(noise, f"{name}.") or None) if isinstance(mlp, NoisyMLP) else mlp(features)


class Critics(nn.Module):
    """E critics for each of K iterations, (*B, *obs), (*B, D) -> atoms (K, E, *B, 1). Action and observation meet at the first layer."""

    def __init__(self, iterations: int, ensemble: int, inputs: int, hidden: Sequence[int], init: str = "torch", layer_norm: bool = False):
        super().__init__()
        self.iterations, self.ensemble = iterations, ensemble
        self.mlp = MLP(iterations * ensemble, [inputs, *hidden, 1], activate_last=False, init=init, layer_norm=layer_norm)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([obs, action], -1)
        lead = x.shape[:-1]
        return self.mlp(x.flatten(0, -2)).view(self.iterations, self.ensemble, *lead, 1)
