"""Batch normalisation in a stack of networks, with running averages that the loss returns in place of changing them.

    BN(x) = scale (x − μ) / √(σ² + ε) + shift

In the loss that trains the network μ and σ² are moments of the batch, elsewhere their running averages: in acting, in the action of
targets, and where critics value the actor's action.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.learning.networks.blocks import Block
from deeprl.learning.networks.layers import Init


class BatchNorms(Block):
    """n networks, (B, inputs) -> (n, B, features), with numbered norms. Norm i keeps its averages as `running_mean_i` and
    `running_variance_i`, (n, 1, width) buffers. Subclasses add norms and define `layered`.

    Args:
        n: stack size.
        momentum: of the running averages.
        epsilon: added to variances.
    """

    def __init__(self, n: int, momentum: float, epsilon: float):
        super().__init__()
        self.n, self.momentum, self.epsilon = n, momentum, epsilon
        self.norms: list[int] = []
        """Widths of the norms"""

    def add_norm(self, width: int) -> None:
        """Add the next norm."""
        i = len(self.norms)
        self.norms.append(width)
        self.add(f"norm_scale_{i}", (self.n, 1, width), Init("constant", value=1.0))
        self.add(f"norm_shift_{i}", (self.n, 1, width), Init("constant", value=0.0))
        self.register_buffer(f"running_mean_{i}", torch.zeros(self.n, 1, width))
        self.register_buffer(f"running_variance_{i}", torch.ones(self.n, 1, width))

    def of(self, name: str, i: int) -> Tensor:
        return getattr(self, f"{name}_{i}")

    def restart_(self) -> None:
        """Forget all batches."""
        for name, buffer in self.named_buffers():
            buffer.fill_(float(name.startswith("running_variance")))

    def forward(self, obs: Tensor) -> Tensor:
        """Features by the running averages."""

        def norm(i: int, x: Tensor) -> Tensor:
            return self.affine(i, (x - self.of("running_mean", i)) * (self.of("running_variance", i) + self.epsilon).rsqrt())

        return self.layered(obs, norm)

    def learn(self, obs: Tensor, counted: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Features by the batch's moments, and new values of the buffers.

        Args:
            counted: (B,), which rows count in the moments; None: all.
        """
        new: dict[str, Tensor] = {}

        def norm(i: int, x: Tensor) -> Tensor:
            x = x.float()  # moments are float32, also where the layers multiply in bfloat16
            x, mean, variance = centred(x, counted)
            new[f"running_mean_{i}"] = self.of("running_mean", i).lerp(mean.detach(), 1.0 - self.momentum)
            new[f"running_variance_{i}"] = self.of("running_variance", i).lerp(variance.detach(), 1.0 - self.momentum)
            x = x * (variance + self.epsilon).rsqrt()
            return self.affine(i, self.corrected(i, x, mean.detach(), variance.detach()))

        return self.layered(obs, norm), new

    def corrected(self, i: int, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """The normalised batch, by its moments and the running averages; here without correction."""
        return x

    def affine(self, i: int, x: Tensor) -> Tensor:
        return x * self.of("norm_scale", i) + self.of("norm_shift", i)

    def layered(self, obs: Tensor, norm: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Features, (B, inputs) -> (n, B, features)."""
        raise NotImplementedError


def centred(x: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """x − μ, μ and σ²: (n, B, width) less its mean over the rows that count, see `BatchNorms.learn`; mean and variance, (n, 1, width).
    Sums over the rows cost a tenth of `torch.var_mean`, whose sums on a CPU are not vectorised."""
    if counted is None:
        mean = x.mean(1, keepdim=True)
        x = x - mean
        return x, mean, x.square().mean(1, keepdim=True)
    share = (counted / counted.sum().clamp(min=1)).unsqueeze(-1)
    mean = (share * x).sum(1, keepdim=True)
    x = x - mean
    return x, mean, (share * x.square()).sum(1, keepdim=True)
