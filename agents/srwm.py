"""Self-referential weight matrix (Irie, Schlag, Csordás, Schmidhuber, ICML 2022, "A Modern Self-Referential Weight Matrix That Learns to
Modify Itself"): a matrix that makes output, key, query and four learning rates from its input, and rewrites itself by the delta rule.

    [y, q, k, β] = W φ(x)      q, k ← softmax(q), softmax(k)      β ← σ(β), one for each block of W
    W_b ← W_b + β_b (W_b q − W_b k) kᵀ          for each block b of (y, q, k, β), by the W of before

φ is a softmax of the standardised x, as in the authors' layers for reinforcement learning. y is of the W before its update. A head has d
inputs and outputs and a matrix of (3d + 4) rows. The state is W − W₀, so that an update of the parameters W₀ takes effect at once; it is
zero at the start of an episode. A layer is heads, a linear map, a residual connection, and a residual feed-forward block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from deeprl.choice import in_range
from deeprl.learning.networks.cores import Core, CoreChoice
from deeprl.learning.networks.layers import Init
from deeprl.learning.networks.mlp import linear, standard


def rewritten(w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """One step of heads: w (..., 3d + 4, d) and x (..., d), a softmax already -> y (..., d), new w."""
    d = w.shape[-1]
    y, q, k, beta = (w @ x.unsqueeze(-1)).squeeze(-1).split((d, d, d, 4), -1)
    q, k = q.softmax(-1), k.softmax(-1)
    difference = (w @ (q - k).unsqueeze(-1)).squeeze(-1)
    rates = torch.cat([rate.expand(*rate.shape[:-1], rows) for rate, rows in zip(beta.sigmoid().split(1, -1), (d, d, d, 4))], -1)
    return y, w + (rates * difference).unsqueeze(-1) * k.unsqueeze(-2)


class SRWMCore(Core):
    """
    Args:
        width: of every layer, also of the output; a multiple of `heads`.
    """

    def __init__(self, n: int, inputs: int, width: int, heads: int, layers: int):
        self.heads, self.depth, self.d = heads, layers, width // heads
        super().__init__(n, inputs, width, layers * heads * (3 * self.d + 4) * self.d)
        self.add_linear("in", inputs, width)
        for i in range(layers):
            matrix = partial(first_matrix, heads, self.d)
            self.add(f"matrix_{i}", (n, heads, 3 * self.d + 4, self.d), Init("made", make=matrix))
            self.add_linear(f"out_{i}", width, width)
            self.add_linear(f"up_{i}", width, 2 * width)
            self.add_linear(f"down_{i}", 2 * width, width)

    def add_linear(self, name: str, inputs: int, outputs: int) -> None:
        self.add(f"weight_{name}", (self.n, inputs, outputs), Init("torch", inputs))
        self.add(f"bias_{name}", (self.n, 1, outputs), Init("torch", inputs, bias=True))

    def linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, getattr(self, f"weight_{name}"), getattr(self, f"bias_{name}"))

    def prepare(self, x: Tensor) -> Tensor:
        return self.linear("in", x)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        n, rows = x.shape[:2]
        changes = state.reshape(n, rows, self.depth, self.heads, 3 * self.d + 4, self.d)
        new = []
        for i in range(self.depth):
            base = getattr(self, f"matrix_{i}")[:, None]
            y, w = rewritten(base + changes[:, :, i], standard(x).to(x.dtype).reshape(n, rows, self.heads, self.d).softmax(-1))
            new.append(w - base)
            x = x + self.linear(f"out_{i}", y.flatten(2))
            x = x + self.linear(f"down_{i}", self.linear(f"up_{i}", standard(x).to(x.dtype)).relu())
        return x, torch.stack(new, 2).flatten(2)


def first_matrix(heads: int, d: int) -> Tensor:
    """N(0, 1/d); rows of the learning rates too, with mean 0 (the authors' value for reinforcement learning)."""
    return torch.randn(heads, 3 * d + 4, d) / math.sqrt(d)


@dataclass(frozen=True)
class SRWM(CoreChoice):
    """
    Args:
        width: of layers and output. The authors': 128 in 8 heads, 2 layers.
    """

    width: int = 128
    heads: int = 8
    layers: int = 2

    def __post_init__(self) -> None:
        in_range(self, width=(1, None), heads=(1, None), layers=(1, None))
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads={self.heads}, not {self.width}")

    def build(self, inputs: int, n: int) -> Core:
        return SRWMCore(n, inputs, self.width, self.heads, self.layers)
