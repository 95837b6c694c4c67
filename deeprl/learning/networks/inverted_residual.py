"""The torso of FlashSAC (Kim, Lee and others, 2026): inverted residual blocks with batch normalisation, whose weights cannot grow.

    x ← W₀ BN(s);     x ← x + relu(BN(W₂ relu(BN(W₁ x))))     for each block;     features = g ⊙ x / √(mean x² + ε)

No layer has a bias. After each update, and at the start, every column of a weight (in, out) is projected to length 1, scale and shift of a
normalisation over d units together to length √d, and g to length √d.

Provenance: the order of the layers, both ε, the momentum, the sizes and the projections are read in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import counts, in_range, one_of
from deeprl.learning.networks.batch_norm import BatchNorms
from deeprl.learning.networks.blocks import Torso
from deeprl.learning.networks.layers import SCHEMES, Init
from deeprl.learning.networks.residual_mlp import entered, vector_size
from deeprl.learning.networks.torsos import TorsoChoice, widths
from deeprl.learning.networks.unit_norm import EPS, unit_columns
from deeprl.types import Spec

RMS_EPSILON = 1e-6
"""Added to the mean square of the features"""


def rms_normalised(x: Tensor) -> Tensor:
    """x / √(mean x² + ε) along the last axis."""
    return x * (x.square().mean(-1, keepdim=True) + RMS_EPSILON).rsqrt()


def to_length_(length: float, *vectors: Tensor) -> None:
    """Scale vectors (n, 1, d), in place, so that together they have this length in each entry of the stack."""
    together = sum(vector.square().sum(-1, keepdim=True) for vector in vectors)
    assert isinstance(together, Tensor)
    for vector in vectors:
        vector.mul_(length / together.sqrt().clamp_min(EPS))


class InvertedResidualBlocks(BatchNorms):
    """Layer 0 and norm 0 embed the observation; block b has layers 2b + 1 and 2b + 2, each before the norm of its number."""

    rms_scale: Tensor

    def __init__(self, choice: InvertedResidual, n: int, inputs: int):
        super().__init__(n, choice.momentum, choice.epsilon)
        self.inputs, self.features, self.blocks = inputs, choice.width, choice.blocks
        inner = choice.width * choice.expansion
        self.sizes = (inputs, choice.width, inner)
        self.add_norm(inputs)
        self.add_weight(0, inputs, choice.width, choice.init)
        for layer in self.firsts():
            self.add_weight(layer, choice.width, inner, choice.init)
            self.add_norm(inner)
            self.add_weight(layer + 1, inner, choice.width, choice.init)
            self.add_norm(choice.width)
        self.add("rms_scale", (n, 1, choice.width), Init("constant", value=1.0))

    def firsts(self) -> range:
        """First layer of each block."""
        return range(1, 2 * self.blocks + 1, 2)

    def add_weight(self, layer: int, inputs: int, outputs: int, scheme: str) -> None:
        self.add(f"weight_{layer}", (self.n, inputs, outputs), Init(scheme, inputs, outputs))

    @torch.no_grad()
    def project_(self) -> None:
        for i, width in enumerate(self.norms):
            weight = self.of("weight", i)
            weight.copy_(unit_columns(weight))
            to_length_(math.sqrt(width), self.of("norm_scale", i), self.of("norm_shift", i))
        to_length_(math.sqrt(self.features), self.rms_scale)

    def layered(self, obs: Tensor, norm: Callable[[int, Tensor], Tensor]) -> Tensor:
        x = norm(0, entered(obs, self.inputs, self.n)) @ self.of("weight", 0)  # (n, B, width)
        for layer in self.firsts():
            inner = norm(layer, x @ self.of("weight", layer)).relu()  # (n, B, inner)
            x = x + norm(layer + 1, inner @ self.of("weight", layer + 1)).relu()
        return rms_normalised(x) * self.rms_scale


@dataclass(frozen=True)
class InvertedResidual(TorsoChoice):
    """The torso of FlashSAC. The authors' critic has these settings, their actor `width=128`. As a critic it needs a chain that evaluates
    both ends of a batch together.

    Args:
        width: length of the features.
        blocks: number of blocks; 0 is the normalised embedding.
        expansion: width inside a block, in multiples of `width`.
        momentum, epsilon: of batch normalisation.
        head_hidden: hidden layers of the head; the authors' head is linear, with `unit=true`.
        init: initialiser of all weights, before their projection, and of heads that name none.
    """

    needs = frozenset({"joint"})

    width: int = 256
    blocks: int = 2
    expansion: int = 4
    momentum: float = 0.99
    epsilon: float = 1e-5
    head_hidden: tuple[int, ...] = ()
    init: str = "orthogonal"

    def __post_init__(self):
        widths(self, "head_hidden")
        counts(self, width=1, blocks=0, expansion=1)
        in_range(self, momentum=(0, 1), epsilon=(0, None))
        one_of(self, init=SCHEMES)

    def build(self, spec: Spec, n: int) -> Torso:
        return InvertedResidualBlocks(self, n, vector_size(spec, "inverted_residual"))
