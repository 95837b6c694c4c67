"""The network of a diffusion over actions: ε(a_t, t, s), or an energy f(a_t, t, s) and its gradient ∇f with respect to the action.

h_0 = (a, sin ω t, cos ω t, s),   u_i = W_i h_{i−1} + b_i,   h_i = u_i σ(u_i),   f = W_n h_{n−1} + b_n
∂f/∂h_{n−1} = W_n,   ∂f/∂h_{i−1} = W_iᵀ ( ∂f/∂h_i · σ(u_i) (1 + u_i (1 − σ(u_i))) ),   ∇f: the part of ∂f/∂h_0 that is of a
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor, nn

from deeprl.learning.networks.mlp import MLP
from deeprl.types import Spec

FREQUENCIES = [NormalDist().inv_cdf(0.5 + (i + 0.5) / 32) for i in range(16)]
"""Quantiles of |N(0, 1)|"""


class Timed(nn.Module):
    """A network with SiLU over actions (..., D), times, a number or (...), and observations (..., S), (...) any axes.

    Args:
        hidden: widths of its layers.
        frequency: standard deviation of the frequencies of t.
        outputs: numbers for each row.
    """

    def __init__(self, spec: Spec, hidden: Sequence[int], frequency: float, outputs: int):
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", 2.0 * math.pi * frequency * torch.tensor(FREQUENCIES), persistent=False)
        self.actions = spec.action_dim
        self.layers = MLP(
            1, (spec.action_dim + 2 * len(FREQUENCIES) + spec.obs_shape[0], *hidden, outputs), activate_last=False, activation="silu"
        )

    def rows(self, action: Tensor, t: Tensor | float, obs: Tensor) -> Tensor:
        """Inputs of the layers, (1, B, inputs), where B are all axes."""
        angles = (t.unsqueeze(-1) if isinstance(t, Tensor) else t) * self.frequencies
        times = torch.cat([angles.sin(), angles.cos()], -1)
        lead = action.shape[:-1]
        return torch.cat([action, times.expand(*lead, -1), obs.expand(*lead, -1)], -1).flatten(0, -2).unsqueeze(0)

    def forward(self, action: Tensor, t: Tensor | float, obs: Tensor) -> Tensor:
        """(..., outputs)"""
        return self.layers(self.rows(action, t, obs))[0].unflatten(0, action.shape[:-1])

    def slope(self, action: Tensor, t: float, obs: Tensor) -> Tensor:
        """Gradient of the one output with respect to the action, (..., D): written out, because acting takes no gradient."""
        x, net, inner = self.rows(action, t, obs), self.layers, list[Tensor]()
        for i in range(net.depth - 1):
            u = torch.baddbmm(getattr(net, f"bias_{i}"), x, net.weight(i))
            gate = u.sigmoid()
            x = u * gate
            inner.append(gate * (1.0 + u * (1.0 - gate)))  # of SiLU
        back = net.weight(net.depth - 1).mT.expand(1, x.shape[1], -1)
        for i in reversed(range(net.depth - 1)):
            back = torch.bmm(back * inner[i], net.weight(i).mT)
        return back[0, :, : self.actions].unflatten(0, action.shape[:-1])
