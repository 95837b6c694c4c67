"""Multilayer perceptrons with a leading stack axis n, plain and noisy. Weights are (n, in, out), biases (n, 1, out).

A stack of linear layers is one batched product, because one product per network is slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.learning.networks.blocks import Block
from deeprl.learning.networks.layers import SCHEMES, Init, signed_sqrt


def repeated(x: Tensor, n: int) -> Tensor:
    """Repeat the input for each entry of a stack, (1, B, in) or (n, B, in) -> (n, B, in), in contiguous memory.

    The copy is needed because oneDNN computes the gradient of the weights on a slow path if all entries share their memory. The difference
    is largest for many long rows, as in the implicit quantiles of a chain.
    """
    return x.expand(n, -1, -1).contiguous()


def standard(x: Tensor) -> Tensor:
    """Layer normalisation over the last axis, before scale and shift. In float32, as CUDA's autocast computes it: a processor's would stay
    in bfloat16."""
    return F.layer_norm(x.float(), x.shape[-1:])


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(n, B, in) -> (n, B, out). A single output is computed as a reduction, because products with one column are slow."""
    if weight.shape[-1] == 1:
        return (x * weight.mT).sum(-1, keepdim=True) + bias
    return torch.baddbmm(bias, x, weight)


def output(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`linear` of a network's last layer: in float32 even where hidden layers multiply in bfloat16
    (`deeprl.learning.agent.Agent.products`), which would round a return of 300 to a multiple of 2."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return linear(x, weight, bias)
    with torch.autocast(device, enabled=False):
        return linear(x.float(), weight, bias)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": Tensor.relu_, "tanh": Tensor.tanh_, "silu": F.silu}
"""In place, because the additions before them do not keep their results for the gradient, but for SiLU, which needs its input"""


class MLP(Block):
    """n multilayer perceptrons of one shape, with an activation between layers, after an optional layer normalisation.

    Args:
        n: stack size.
        sizes: input, hidden and output widths; at least two.
        activate_last: the activation after the last layer too, for a torso.
        init, last_init: initialisers from `deeprl.learning.networks.layers`, of all layers, and of the last one if given.
    """

    def __init__(
        self,
        n: int,
        sizes: Sequence[int],
        *,
        activate_last: bool,
        init: str = "torch",
        last_init: str | None = None,
        layer_norm: bool = False,
        activation: str = "relu",
    ):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        if len(sizes) < 2 or min(sizes) < 1 or n < 1:
            raise ValueError(f"an MLP needs a stack of at least one and two widths or more, all positive, not n={n}, sizes={list(sizes)}")
        self.n, self.sizes, self.activate_last, self.layer_norm = n, tuple(sizes), activate_last, bool(layer_norm)
        self.depth, self.features = len(sizes) - 1, sizes[-1]
        for i, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:])):
            scheme = last_init if last_init is not None and i == self.depth - 1 else init
            self.add_linear(str(i), inputs, outputs, scheme)
            if self.layer_norm and self.activated(i):
                self.add(f"norm_scale_{i}", (n, 1, outputs), Init("constant", value=1.0))
                self.add(f"norm_shift_{i}", (n, 1, outputs), Init("constant", value=0.0))

    def add_linear(self, i: str, inputs: int, outputs: int, scheme: str) -> None:
        if scheme not in SCHEMES:
            raise ValueError(f"init must be one of {', '.join(SCHEMES)}, not {scheme!r}")
        self.add(f"weight_{i}", (self.n, inputs, outputs), Init(scheme, inputs, outputs))
        self.add(f"bias_{i}", (self.n, 1, outputs), Init(scheme, inputs, outputs, bias=True))

    def layers(self, outputs: bool) -> Sequence[int]:
        return [i for i in range(self.depth) if outputs or self.activated(i)]

    def activated(self, layer: int) -> bool:
        return self.activate_last or layer < self.depth - 1

    def stacked(self, x: Tensor) -> Tensor:
        """The input for each entry: (B, in), (1, B, in) or (n, B, in) -> (n, B, in)."""
        if x.shape[-1] != self.sizes[0] or not 2 <= x.dim() <= 3 or (x.dim() == 3 and x.shape[0] not in (1, self.n)):
            width = self.sizes[0]
            raise ValueError(f"expected (B, {width}), (1, B, {width}) or ({self.n}, B, {width}), not {tuple(x.shape)}")
        return repeated(x, self.n)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, B, out). A shared input may lack the stack axis, or have one of size one."""
        x = self.stacked(x)
        for i in range(self.depth):
            x = self.rest(i, self.affine(i)(x, self.weight(i), getattr(self, f"bias_{i}")))
        return x

    def affine(self, i: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Affine map of layer i."""
        return linear if self.activated(i) else output

    def rest(self, i: int, x: Tensor) -> Tensor:
        """Layer i after its affine map: normalisation and activation."""
        if not self.activated(i):
            return x
        if self.layer_norm:
            x = standard(x) * getattr(self, f"norm_scale_{i}") + getattr(self, f"norm_shift_{i}")
        return self.activation(x)


class NoisyMLP(MLP):
    """An MLP whose weights are means plus learned deviations times factorised Gaussian noise (Fortunato et al., 2018).

        w = mu_w + sigma_w * f(e_in) f(e_out)^T,    b = mu_b + sigma_b * f(e_out),    f(x) = sign(x) sqrt|x|

    mu starts as U(-1/sqrt(in), 1/sqrt(in)), sigma at sigma0 / sqrt(in). Without noise (in evaluation) the weights are the means.
    """

    def __init__(self, n: int, sizes: Sequence[int], *, activate_last: bool, sigma0: float = 0.5, layer_norm=False):
        self.sigma0 = sigma0
        super().__init__(n, sizes, activate_last=activate_last, init="torch", layer_norm=layer_norm)

    def add_linear(self, i: str, inputs: int, outputs: int, scheme: str) -> None:
        super().add_linear(i, inputs, outputs, scheme)
        sigma = Init("constant", value=self.sigma0 / math.sqrt(inputs))
        self.add(f"weight_sigma_{i}", (self.n, inputs, outputs), sigma)
        self.add(f"bias_sigma_{i}", (self.n, 1, outputs), sigma)

    def layers(self, outputs: bool) -> Sequence[int]:
        return Block.layers(self, outputs)  # refused, because weights of mean plus noise have no fixed length

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the standard normal numbers for `forward`, by name: in_i (n, in) and out_i (n, out) for each layer i."""
        sides = (("in", self.sizes), ("out", self.sizes[1:]))
        return {f"{side}_{i}": (self.n, widths[i]) for i in range(self.depth) for side, widths in sides}

    def forward(self, x: Tensor, noise: dict[str, Tensor] | None = None) -> Tensor:
        x = self.stacked(x)
        for i in range(self.depth):
            weight, bias = getattr(self, f"weight_{i}"), getattr(self, f"bias_{i}")
            if noise is not None:
                rows, columns = signed_sqrt(noise[f"in_{i}"]).unsqueeze(2), signed_sqrt(noise[f"out_{i}"]).unsqueeze(1)
                weight = weight + getattr(self, f"weight_sigma_{i}") * (rows * columns)
                bias = bias + getattr(self, f"bias_sigma_{i}") * columns
            x = self.rest(i, self.affine(i)(x, weight, bias))
        return x
