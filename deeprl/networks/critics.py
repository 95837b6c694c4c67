"""Critics of continuous actions: ensembles of multilayer perceptrons over observation and action."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range
from deeprl.networks.blocks import MLP
from deeprl.types import Spec


class Ensemble(Choice):
    """An ensemble of E scalar critics, multilayer perceptrons over (observation, action)."""

    def __init__(self, *, size: int = 2, hidden: tuple[int, ...] = (256, 256), init: str = "torch", layer_norm: bool = False):
        self.size, self.hidden, self.init, self.layer_norm = size, tuple(hidden), init, layer_norm
        in_range(self, size=(1, None))

    def build(self, spec: Spec, iterations: int) -> Critics:
        return Critics(iterations, self.size, spec.obs_shape[0] + spec.action_dim, self.hidden, self.init, self.layer_norm)


class Critics(nn.Module):
    """E critics for each of K iterations, (*B, *obs), (*B, D) -> atoms (K, E, *B, 1). The first layer takes observation and action
    together."""

    def __init__(self, iterations: int, ensemble: int, inputs: int, hidden: Sequence[int], init: str = "torch", layer_norm: bool = False):
        super().__init__()
        self.iterations, self.ensemble = iterations, ensemble
        self.mlp = MLP(iterations * ensemble, [inputs, *hidden, 1], activate_last=False, init=init, layer_norm=layer_norm)

    def forward(self, obs: Tensor, action: Tensor, first: bool = False) -> Tensor:
        """With `first` only the first critic of each iteration is evaluated: (K, 1, *B, 1)."""
        x = torch.cat([obs, action], -1)
        lead = x.shape[:-1]
        entries = slice(None, None, self.ensemble) if first and self.ensemble > 1 else None
        return self.mlp.some(entries, x.flatten(0, -2)).view(self.iterations, -1, *lead, 1)
