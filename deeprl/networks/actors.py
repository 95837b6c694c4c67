"""Policies for continuous actions in [-1, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from deeprl.choice import Choice, one_of
from deeprl.networks.blocks import MLP
from deeprl.networks.layers import SCHEMES
from deeprl.networks.torsos import widths
from deeprl.types import Spec


class DeterministicActor(nn.Module):
    def __init__(self, sizes: tuple[int, ...], init: str, last_init: str | None, layer_norm: bool):
        super().__init__()
        self.mlp = MLP(1, sizes, activate_last=False, init=init, last_init=last_init, layer_norm=layer_norm)

    def forward(self, obs: Tensor) -> Tensor:
        """(B, in) -> (B, D)"""
        return self.mlp(obs)[0].tanh()


@dataclass(frozen=True)
class Deterministic(Choice):
    """Deterministic policy a = tanh(f(s)) (DDPG, TD3). `last_init=small` starts near zero as in DDPG; TD3's authors keep PyTorch's
    default."""

    hidden: tuple[int, ...] = (256, 256)
    init: str = "torch"
    last_init: str | None = None
    layer_norm: bool = False

    def __post_init__(self):
        widths(self, "hidden")
        one_of(self, init=SCHEMES, last_init=(None, *SCHEMES))

    def build(self, spec: Spec) -> DeterministicActor:
        """
        Raises:
            ValueError: the actions are discrete, or the observations are not vectors.
        """
        if spec.action_dim < 1:
            raise ValueError(f"a deterministic actor needs continuous actions, not {spec.num_actions} discrete ones")
        if len(spec.obs_shape) != 1:
            raise ValueError(f"a deterministic actor needs observations that are vectors, not of shape {tuple(spec.obs_shape)}")
        sizes = (math.prod(spec.obs_shape), *self.hidden, spec.action_dim)
        return DeterministicActor(sizes, self.init, self.last_init, self.layer_norm)
