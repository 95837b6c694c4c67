"""Residual networks of dense layers, for vectors: the torsos of SimBa (Lee and others, 2025) and BRO (Nauman and others, 2024).

    simba     x ← W s + b;                  x ← x + W₂ relu(W₁ LN(x) + b₁) + b₂              for each block;   features = LN(x)
    bronet    x ← relu(LN(W s + b));        x ← x + LN(W₂ relu(LN(W₁ x + b₁)) + b₂)          for each block;   features = x

LN is layer normalisation with a learnt scale and shift for each unit. Its ε is torch's 1e-5, as in the other blocks; that of the authors'
JAX code is 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import counts, one_of
from deeprl.learning.networks.blocks import Block, Torso
from deeprl.learning.networks.layers import SCHEMES, Init
from deeprl.learning.networks.mlp import linear, repeated, standard
from deeprl.learning.networks.torsos import TorsoChoice, widths
from deeprl.types import Spec


def vector_size(spec: Spec, option: str) -> int:
    """Length of the observations.

    Args:
        option: name of the torso, for the message.

    Raises:
        ValueError: the observations are no vectors.
    """
    shape = tuple(spec.obs_shape)
    if len(shape) != 1:
        raise ValueError(f"agent/torso={option} takes vectors, not observations of shape {shape}: choose auto, nature, impala or minatar")
    return spec.obs_shape[0]


def entered(obs: Tensor, inputs: int, n: int) -> Tensor:
    """Observations as floats for each entry of a stack, (B, inputs) -> (n, B, inputs).

    Raises:
        ValueError: the observations have another shape.
    """
    if obs.dim() != 2 or obs.shape[1] != inputs:
        raise ValueError(f"expected (B, {inputs}), not {tuple(obs.shape)}")
    return repeated(obs.to(torch.float32), n)


class ResidualMLP(Block):
    """n residual networks, (B, inputs) -> (n, B, width). Layer 0 embeds the observation, and block b has layers 2b + 1 and 2b + 2.
    Subclasses add normalisation and define `forward`.

    Args:
        n: stack size.
        inputs, width: length of an observation and of the features.
        inner: width between the two layers of a block.
        blocks: number of residual blocks.
        init: initialiser of layer 0.
        residual_init: initialiser of the layers in blocks.
    """

    def __init__(self, n: int, inputs: int, width: int, inner: int, blocks: int, *, init: str, residual_init: str):
        super().__init__()
        self.n, self.inputs, self.features, self.blocks = n, inputs, width, blocks
        self.sizes = (inputs, width, inner)
        self.add_dense(0, inputs, width, init)
        for layer in self.firsts():
            self.add_dense(layer, width, inner, residual_init)
            self.add_dense(layer + 1, inner, width, residual_init)

    def firsts(self) -> range:
        """First layer of each block."""
        return range(1, 2 * self.blocks + 1, 2)

    def add_dense(self, layer: int, inputs: int, outputs: int, scheme: str) -> None:
        self.add(f"weight_{layer}", (self.n, inputs, outputs), Init(scheme, inputs, outputs))
        self.add(f"bias_{layer}", (self.n, 1, outputs), Init(scheme, inputs, outputs, bias=True))

    def add_norm(self, name: int, width: int) -> None:
        self.add(f"norm_scale_{name}", (self.n, 1, width), Init("constant", value=1.0))
        self.add(f"norm_shift_{name}", (self.n, 1, width), Init("constant", value=0.0))

    def dense(self, layer: int, x: Tensor) -> Tensor:
        return linear(x, getattr(self, f"weight_{layer}"), getattr(self, f"bias_{layer}"))

    def norm(self, name: int, x: Tensor) -> Tensor:
        """Layer normalisation over the last axis, then scale and shift: (n, B, F) -> (n, B, F)."""
        return standard(x) * getattr(self, f"norm_scale_{name}") + getattr(self, f"norm_shift_{name}")


class SimbaBlocks(ResidualMLP):
    """Blocks with the normalisation before them. Norm b belongs to block b, and the last one to the features."""

    def __init__(self, n: int, inputs: int, width: int, inner: int, blocks: int, *, init: str, residual_init: str):
        super().__init__(n, inputs, width, inner, blocks, init=init, residual_init=residual_init)
        for block in range(blocks + 1):
            self.add_norm(block, width)

    def forward(self, obs: Tensor) -> Tensor:
        x = self.dense(0, entered(obs, self.inputs, self.n))  # (n, B, width)
        for block, layer in enumerate(self.firsts()):
            inner = self.dense(layer, self.norm(block, x)).relu_()  # (n, B, inner)
            x = x + self.dense(layer + 1, inner)
        return self.norm(self.blocks, x)


class BroNetBlocks(ResidualMLP):
    """Blocks with a normalisation after each layer; norm i belongs to layer i. All layers have the same width."""

    def __init__(self, n: int, inputs: int, width: int, blocks: int, *, init: str):
        super().__init__(n, inputs, width, width, blocks, init=init, residual_init=init)
        for layer in range(2 * blocks + 1):
            self.add_norm(layer, width)

    def forward(self, obs: Tensor) -> Tensor:
        x = self.norm(0, self.dense(0, entered(obs, self.inputs, self.n))).relu_()  # (n, B, width)
        for layer in self.firsts():
            inner = self.norm(layer, self.dense(layer, x)).relu_()
            x = x + self.norm(layer + 1, self.dense(layer + 1, inner))
        return x


@dataclass(frozen=True)
class Simba(TorsoChoice):
    """The residual network of SimBa. The authors' critic has these settings, their actor `width=128` and `blocks=1`; both see running
    normalised observations (`agent/normalize=running`).

    Args:
        width: length of the features.
        blocks: residual blocks; 0 is LN(W s + b).
        expansion: width inside a block, in multiples of `width`.
        head_hidden: hidden layers of the head; the authors' head is linear.
        init: initialiser of the first layer, and of heads that name none.
        residual_init: initialiser of the layers in blocks.
    """

    width: int = 512
    blocks: int = 2
    expansion: int = 4
    head_hidden: tuple[int, ...] = ()
    init: str = "orthogonal"
    residual_init: str = "he_normal"

    def __post_init__(self):
        widths(self, "head_hidden")
        counts(self, width=1, blocks=0, expansion=1)
        one_of(self, init=SCHEMES, residual_init=SCHEMES)

    def build(self, spec: Spec, n: int) -> Torso:
        inputs, inner = vector_size(spec, "simba"), self.expansion * self.width
        return SimbaBlocks(n, inputs, self.width, inner, self.blocks, init=self.init, residual_init=self.residual_init)


@dataclass(frozen=True)
class BroNet(TorsoChoice):
    """The residual network of BRO. The authors' critic has these settings, their actor `width=256` and `blocks=1`.

    Args:
        width: length of the features, and of every layer.
        blocks: residual blocks; 0 is an MLP of one normalised layer.
        head_hidden: hidden layers of the head; the authors' head is linear.
        init: initialiser of every layer, and of heads that name none.
    """

    width: int = 512
    blocks: int = 2
    head_hidden: tuple[int, ...] = ()
    init: str = "orthogonal_relu"

    def __post_init__(self):
        widths(self, "head_hidden")
        counts(self, width=1, blocks=0)
        one_of(self, init=SCHEMES)

    def build(self, spec: Spec, n: int) -> Torso:
        return BroNetBlocks(n, vector_size(spec, "bronet"), self.width, self.blocks, init=self.init)
