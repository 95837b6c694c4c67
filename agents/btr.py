"""What BTR ("Beyond The Rainbow", Clark and others, 2025) adds: IMPALA with spectral norm and a pool of fixed size, a fading ε, and a
Munchausen bonus by the online network; docs/algorithms/btr.md.

    conv:    W / σ(W) in place of W inside residual blocks,   σ = uᵀ W v,   W as a matrix (out, in · height · width)
    vectors: u ← W v / |W v|,   v ← Wᵀ u / |Wᵀ u|             once after each update of the weights
    ε(t) = end + (start − end) e^(−t / decay)                until step `duration`, then 0
    bonus    α max(τ ln π(a|s), l0),   π = softmax(Q(s, ·) / τ) of the online network

The other parts are options that stood before: `configs/agent/btr.yaml`.

Provenance: the placing of the norm, the pool, ε and the bonus are read in the authors' code; initial weights and the padding of the maxima
between stages, here those of `Impala`, are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.agents.munchausen import Munchausen
from deeprl.choice import Choice, counts, in_range, one_of
from deeprl.learning.networks.blocks import Torso
from deeprl.learning.networks.layers import SCHEMES
from deeprl.learning.networks.residual import ResidualStacks
from deeprl.learning.networks.torsos import ImageChoice, widths
from deeprl.learning.values.view import View
from deeprl.types import Spec

FIRST_ITERATIONS = 16
"""Power iterations of new weights: as many as torch makes up to the end of its first pass in training, 15 and one"""
TINY = 1e-12
"""Smallest length of a vector that is divided by, as in torch"""
WEIGHT_AXES = (1, 2, 3, 4)
"""Axes of a stack entry of a convolution's weights, (n, out, in, height, width)"""


def norm_of_entries(vector: Tensor) -> Tensor:
    """Euclidean length of each stack entry: (n, a, b, c, d) -> (n, 1, 1, 1, 1)."""
    return torch.linalg.vector_norm(vector, dim=WEIGHT_AXES, keepdim=True).clamp(min=TINY)


def power_iteration(weight: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """u and v after one power iteration from v, `right`: (n, out, 1, 1, 1) and (n, 1, in, height, width)."""
    left = (weight * right).sum((2, 3, 4), keepdim=True)
    left = left / norm_of_entries(left)
    right = (weight * left).sum(1, keepdim=True)
    return left, right / norm_of_entries(right)


def spectrally_normalised(weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """W / (uᵀ W v). The gradient goes through W in both places. The lengths of u and v are 1, unless a target network has averaged them."""
    # products and sums in place of matrix products, which would be rounded to bfloat16 in a loss with accelerate.matmul_precision=bfloat16
    return weight * (norm_of_entries(left) * norm_of_entries(right) / (weight * left * right).sum(WEIGHT_AXES, keepdim=True))


def pooled(x: Tensor, side: int) -> Tensor:
    """Adaptive maximum: (B, C, H, W) -> (B, C, side, side), the maxima of windows ⌊i H / side⌋ … ⌈(i + 1) H / side⌉ − 1. Made of slices,
    because torch's own has no deterministic form on a GPU and cannot be exported."""
    # max, not amax: its gradient goes to an index, where amax compares numbers, which compiled code has in bfloat16 here and float32 there
    for axis in (2, 3):
        size = x.shape[axis]
        windows = [(i * size // side, -(-(i + 1) * size // side)) for i in range(side)]
        x = torch.stack([x.narrow(axis, start, end - start).max(axis).values for start, end in windows], axis)
    return x


class SpectralStacks(ResidualStacks):
    """n residual towers, (B, C, H, W) -> (n, B, features), whose convolutions inside residual blocks have spectral norm 1, and whose last
    image is pooled to a fixed size.

    The vectors of a convolution, `left_<layer>` (n, out, 1, 1, 1) and `right_<layer>` (n, 1, in, 3, 3), are part of the state, and go with
    the weights into a target network. After each update they make one power iteration (`project_`). Torch, and so the authors' code, makes
    it in each pass in training mode: the same vectors where an update has one such pass and acting none.
    """

    def __init__(self, choice: SpectralImpala, n: int, shape: Sequence[int], scale: float):
        inits = {"init": choice.init, "residual_init": choice.residual_init}
        super().__init__(n, shape, choice.channels, blocks=choice.blocks, scale=scale, **inits)
        self.pool, self.features = choice.pool, self.channels[-1] * choice.pool**2
        firsts = {self.first(stack) for stack in range(len(self.channels))}
        self.residual = [layer for layer in range(self.depth) if layer not in firsts]
        for layer in self.residual:
            _, outputs, *inside = getattr(self, f"weight_{layer}").shape
            self.carry(f"left_{layer}", torch.ones(n, outputs, 1, 1, 1))
            self.carry(f"right_{layer}", torch.ones(n, 1, *inside))

    def vectors(self, layer: int) -> tuple[Tensor, Tensor]:
        """u and v."""
        return getattr(self, f"left_{layer}"), getattr(self, f"right_{layer}")

    @torch.no_grad()
    def project_(self) -> None:
        for layer in self.residual:
            left, right = self.vectors(layer)
            for into, value in zip((left, right), power_iteration(getattr(self, f"weight_{layer}"), right)):
                into.copy_(value)

    def restart_(self) -> None:
        """Find the vectors of new weights, from a v of equal entries."""
        for layer in self.residual:
            self.vectors(layer)[1].fill_(1.0)
        for _ in range(FIRST_ITERATIONS):
            self.project_()

    def layers(self, outputs: bool) -> Sequence[int]:
        raise ValueError("weight_norm does not work with spectral_impala: convolutions inside residual blocks have another norm")

    def weight(self, layer: int) -> Tensor:
        weight = super().weight(layer)
        return spectrally_normalised(weight, *self.vectors(layer)) if layer in self.residual else weight

    def image(self, i: int, x: Tensor, layout: torch.memory_format) -> Tensor:
        return pooled(super().image(i, x, layout), self.pool)


@dataclass(frozen=True)
class SpectralImpala(ImageChoice):
    """The torso of BTR: IMPALA's stacks with twice their channels, 2304 features whatever the size of the image.

    Args:
        channels: of each stack.
        blocks: residual blocks in each stack.
        pool: side of the image after the last stack.
        head_hidden: hidden layers of the head.
        init, residual_init: of the first convolution of a stack, and of those in residual blocks, whose scale the norm takes away.
        scale: factor of uint8 pixels.
    """

    channels: tuple[int, ...] = (32, 64, 64)
    blocks: int = 2
    pool: int = 6
    head_hidden: tuple[int, ...] = (512,)
    init: str = "torch"
    residual_init: str = "torch"
    scale: float = 1 / 255

    def __post_init__(self):
        widths(self, "channels", "head_hidden")
        one_of(self, init=SCHEMES, residual_init=SCHEMES)
        counts(self, blocks=0, pool=1)
        in_range(self, scale=(0, None))
        if not self.channels:
            raise ValueError("channels must name at least one stack")

    def build(self, spec: Spec, n: int) -> Torso:
        return SpectralStacks(self, n, self.image(spec), self.factor(spec))


@dataclass(frozen=True)
class Fading(Choice):
    """A schedule that decays exponentially from `start` towards `end`, and is 0 from step `duration` on.

    Args:
        decay: steps in which the distance to `end` becomes 1/e of what it was.
    """

    start: float
    end: float
    decay: float
    duration: int

    def __post_init__(self):
        in_range(self, start=(None, None), end=(None, None), decay=(1, None), duration=(1, None))

    def __call__(self, step: int) -> float:
        return 0.0 if step >= self.duration else self.end + (self.start - self.end) * math.exp(-step / self.decay)


@dataclass(frozen=True)
class OnlineMunchausen(Munchausen):
    """`Munchausen` whose bonus is that of the online network's policy at s. The policy at s' is the target network's."""

    def bonus_values(self, online: View, target: View) -> Tensor:
        return online.now.mean()
