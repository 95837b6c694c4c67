"""Weight vectors of length 1, projected after each update of their parameters (`deeprl.learning.agent.Agent.projections`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deeprl.learning.networks.mlp import MLP

EPS = 1e-8
"""Shorter vectors are divided by this number, so that zeros stay zeros."""


def unit_columns(weight: Tensor) -> Tensor:
    """Weights (n, in, out) with columns of length 1."""
    # not `lengths`, because its float32 sum over 2048 inputs is off by 1e-6; `sum` adds in pairs and is ten times as exact
    return weight / weight.square().sum(1, keepdim=True).sqrt().clamp_min(EPS)


class UnitMLP(MLP):
    """An MLP whose units have weights of length 1; biases are free."""

    def layers(self, outputs: bool) -> Sequence[int]:
        found = super().layers(outputs)
        if found:
            raise ValueError(
                "weight_norm of the torso must be none where units have weights of length 1, because a gain would scale them again"
            )
        return found

    @torch.no_grad()
    def project_(self) -> None:
        for i in range(self.depth):
            weight = getattr(self, f"weight_{i}")
            weight.copy_(unit_columns(weight))
