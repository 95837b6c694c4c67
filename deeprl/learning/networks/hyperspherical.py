"""The torso of SimbaV2 (Lee and others, 2025): features and weight vectors on the unit sphere.

    x ← |(s, constant)|;     x ← |σ₀ ⊙ W₀ x|;                                                     |x| = x / ‖x‖
    x ← |x + α ⊙ (|W₂ relu(σ ⊙ W₁ x)| − x)|      for each block;       features = x

No layer has a bias. Every column of a weight (in, out) has length 1 and is projected after each update of its parameters. The scalers σ
and the rates α are learnt vectors.

Provenance: the constant, the projection, the form of a block and the start of α are read in the authors' code, the starts and scales of σ
and the scale of α in copies of it. They are keys: `scaler`, `scaler_scale`, `alpha_scale`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.blocks import Block, Torso
from deeprl.learning.networks.layers import SCHEMES, Init
from deeprl.learning.networks.residual_mlp import counts, entered, vector_size
from deeprl.learning.networks.torsos import TorsoChoice, widths
from deeprl.learning.networks.unit_norm import EPS, unit_columns
from deeprl.types import Spec


def unit(x: Tensor) -> Tensor:
    """Vectors of length 1 along the last axis, in float32. The authors add `EPS` to the outputs of the ReLU as well."""
    return F.normalize(x.float(), dim=-1, eps=EPS)


def shifted(x: Tensor, constant: float) -> Tensor:
    """|(x, constant)|, (*B, F) -> (*B, F + 1). The constant is there because the length of x alone would be lost."""
    return unit(F.pad(x, (0, 1), value=constant))


def towards(x: Tensor, other: Tensor, alpha: Tensor) -> Tensor:
    """|x + α (other − x)|; |x| at α = 0 and |other| at α = 1."""
    return unit(torch.lerp(x, other, alpha))


class Learnt(NamedTuple):
    """Initial value of a learnt vector, which is stored as `scale` and multiplied by `start / scale`. A small `scale` makes the vector
    learn faster, because the steps of Adam do not depend on the size of the gradient."""

    start: float
    scale: float


class HypersphericalBlocks(Block):
    """n networks, (B, inputs) -> (n, B, width). Layer 0 embeds the observation, and block b has layers 2b + 1 and 2b + 2.

    Args:
        n: stack size.
        inputs, width: length of an observation and of the features.
        inner: width between the two layers of a block.
        blocks: number of blocks.
        constant: appended to the observation.
        init: initialiser of all weights, before their projection.
        scaler: σ of the first layer; in a block both its numbers are divided by √(inner / width).
        alpha: α of every block.
    """

    def __init__(
        self, n: int, inputs: int, width: int, inner: int, blocks: int, *, constant: float, init: str, scaler: Learnt, alpha: Learnt
    ):
        super().__init__()
        self.n, self.inputs, self.features, self.blocks, self.constant = n, inputs, width, blocks, constant
        self.sizes, self.factors = (inputs + 1, width, inner), dict[str, float]()
        root = math.sqrt(inner / width)
        self.add_weight(0, inputs + 1, width, init)
        self.add_vector("scaler_0", width, scaler)
        for block, layer in enumerate(self.firsts()):
            self.add_weight(layer, width, inner, init)
            self.add_vector(f"scaler_{layer}", inner, Learnt(scaler.start / root, scaler.scale / root))
            self.add_weight(layer + 1, inner, width, init)
            self.add_vector(f"alpha_{block}", width, alpha)

    def firsts(self) -> range:
        """First layer of each block."""
        return range(1, 2 * self.blocks + 1, 2)

    def add_weight(self, layer: int, inputs: int, outputs: int, scheme: str) -> None:
        self.add(f"weight_{layer}", (self.n, inputs, outputs), Init(scheme, inputs, outputs))

    def add_vector(self, name: str, width: int, learnt: Learnt) -> None:
        self.add(name, (self.n, 1, width), Init("constant", value=learnt.scale))
        self.factors[name] = learnt.start / learnt.scale

    def vector(self, name: str) -> Tensor:
        """A scaler or α, (n, 1, width)."""
        return getattr(self, name) * self.factors[name]

    def scaled(self, layer: int, x: Tensor) -> Tensor:
        """σ ⊙ W x, (n, B, in) -> (n, B, out)"""
        return x @ getattr(self, f"weight_{layer}") * self.vector(f"scaler_{layer}")

    @torch.no_grad()
    def project_(self) -> None:
        """Weights with columns of length 1, in place; see `deeprl.learning.agent.Agent.projections`."""
        for layer in range(2 * self.blocks + 1):
            weight = getattr(self, f"weight_{layer}")
            weight.copy_(unit_columns(weight))

    def forward(self, obs: Tensor) -> Tensor:
        x = shifted(entered(obs, self.inputs, self.n), self.constant)  # (n, B, inputs + 1)
        x = unit(self.scaled(0, x))  # (n, B, width)
        for block, layer in enumerate(self.firsts()):
            inner = self.scaled(layer, x).relu_()  # (n, B, inner)
            x = towards(x, unit(inner @ getattr(self, f"weight_{layer + 1}")), self.vector(f"alpha_{block}"))
        return x


@dataclass(frozen=True)
class Hyperspherical(TorsoChoice):
    """The torso of SimbaV2. Critics have these settings, actors `width=128` and `blocks=1`; they see running
    normalised observations (`agent/normalize=running`).

    Features have length 1, hence a linear head needs large weights for large returns: scale the rewards, or choose a categorical head. The
    projection concerns the torso alone; the authors' heads have unit weights and scalers too.

    Args:
        width: length of the features.
        blocks: number of blocks; 0 is the embedding.
        expansion: width inside a block, in multiples of `width`.
        constant: appended to the observation.
        alpha: start of α; null is 1 / (blocks + 1). 0 leaves the blocks out, because it is a factor of the learnt vector.
        alpha_scale: scale of α; null is 1 / √width.
        scaler, scaler_scale: start and scale of σ in the first layer; null is √(2 / width).
        head_hidden: hidden layers of the head.
        init: initialiser of all weights, and of heads that name none.

    Target networks are averages (`agent/chain=polyak`) or copies of the projected weights. Averages are not projected, as in the authors'
    code: their columns are a little shorter than 1.
    """

    width: int = 512
    blocks: int = 2
    expansion: int = 4
    constant: float = 3.0
    alpha: float | None = None
    alpha_scale: float | None = None
    scaler: float | None = None
    scaler_scale: float | None = None
    head_hidden: tuple[int, ...] = ()
    init: str = "orthogonal"

    def __post_init__(self):
        widths(self, "head_hidden")
        counts(self, width=1, blocks=0, expansion=1)
        in_range(self, constant=(0, None))
        one_of(self, init=SCHEMES)
        if self.alpha is not None:
            in_range(self, alpha=(0, 1))
        for name in ("alpha_scale", "scaler", "scaler_scale"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, or null for its default, not {value!r}")

    def learnt(self) -> dict[str, Learnt]:
        """Initial values of σ in the first layer and of α."""

        def given(value: float | None, default: float) -> float:
            return default if value is None else value

        root = math.sqrt(2 / self.width)
        alpha = Learnt(given(self.alpha, 1 / (self.blocks + 1)), given(self.alpha_scale, self.width**-0.5))
        return {"scaler": Learnt(given(self.scaler, root), given(self.scaler_scale, root)), "alpha": alpha}

    def build(self, spec: Spec, n: int) -> Torso:
        inputs, inner = vector_size(spec, "hyperspherical"), self.expansion * self.width
        return HypersphericalBlocks(n, inputs, self.width, inner, self.blocks, constant=self.constant, init=self.init, **self.learnt())
