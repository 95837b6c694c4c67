"""Dense layers with batch renormalisation (Ioffe, 2017), the networks of CrossQ (Bhatt and others, 2024).

    BRN    x̂ = γ ((x − μ) / σ · r + d) + β        r = σ / σ̄ and d = (μ − μ̄) / σ̄, both cut off and without gradient
    torso  x ← BRN(s);    x ← BRN(relu(W x + b))    for each layer

μ and σ are those of the batch, μ̄ and σ̄ their running averages, which replace them outside of the loss that trains the network: in acting,
in the action of targets, and where the critics value the actor's action. Before the averages have settled, r = 1 and d = 0: batch
normalisation. With r and d not cut off, x̂ is the same inside the loss and outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import counts, in_range, one_of
from deeprl.networks.blocks import Block, linear
from deeprl.networks.layers import SCHEMES, Init
from deeprl.networks.residual_mlp import entered, vector_size
from deeprl.networks.torsos import TorsoChoice, widths
from deeprl.types import Spec


class BatchRenorms(Block):
    """n MLPs, (B, inputs) -> (n, B, width). Norm 0 belongs to the observation, norm i + 1 to layer i. A norm keeps μ̄ and σ̄² as
    `running_mean_i` and `running_variance_i`, (n, 1, width) buffers; all of them share `taken`, the batches so far."""

    taken: Tensor

    def __init__(self, choice: BatchRenormMLP, n: int, inputs: int):
        super().__init__()
        self.choice, self.n, self.sizes = choice, n, (inputs, *choice.hidden)
        self.features = self.sizes[-1]
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        for i, width in enumerate(self.sizes):
            self.add(f"norm_scale_{i}", (n, 1, width), Init("constant", value=1.0))
            self.add(f"norm_shift_{i}", (n, 1, width), Init("constant", value=0.0))
            self.register_buffer(f"running_mean_{i}", torch.zeros(n, 1, width))
            self.register_buffer(f"running_variance_{i}", torch.ones(n, 1, width))
        for i, (inside, outside) in enumerate(zip(self.sizes, self.sizes[1:])):
            self.add(f"weight_{i}", (n, inside, outside), Init(choice.init, inside, outside))
            self.add(f"bias_{i}", (n, 1, outside), Init(choice.init, inside, outside, bias=True))

    def restart_(self) -> None:
        """Forget all batches."""
        for name, buffer in self.named_buffers():
            buffer.fill_(float(name.startswith("running_variance")))

    def forward(self, obs: Tensor) -> Tensor:
        """Features by the running averages."""

        def norm(i: int, x: Tensor) -> Tensor:
            return (x - self.of("running_mean", i)) * (self.of("running_variance", i) + self.choice.epsilon).rsqrt()

        return self.layered(obs, norm)

    def learn(self, obs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features by the batch's moments, and new values of the buffers."""
        new = {"taken": self.taken + 1}
        keep, settled = self.choice.momentum, self.taken >= self.choice.settle

        def norm(i: int, x: Tensor) -> Tensor:
            mean, variance = self.of("running_mean", i), self.of("running_variance", i)
            variance_now, mean_now = torch.var_mean(x, 1, correction=0, keepdim=True)
            new[f"running_mean_{i}"] = mean.lerp(mean_now.detach(), 1.0 - keep)
            new[f"running_variance_{i}"] = variance.lerp(variance_now.detach(), 1.0 - keep)
            r, d = self.choice.corrections(mean_now.detach(), variance_now.detach(), mean, variance)
            x = (x - mean_now) * (variance_now + self.choice.epsilon).rsqrt()
            return torch.where(settled, x * r + d, x)

        return self.layered(obs, norm), new

    def of(self, name: str, i: int) -> Tensor:
        return getattr(self, f"{name}_{i}")

    def layered(self, obs: Tensor, norm) -> Tensor:
        def affine(i: int, x: Tensor) -> Tensor:
            return norm(i, x) * self.of("norm_scale", i) + self.of("norm_shift", i)

        x = affine(0, entered(obs, self.sizes[0], self.n))
        for i in range(len(self.sizes) - 1):
            x = affine(i + 1, linear(x, self.of("weight", i), self.of("bias", i)).relu())
        return x


@dataclass(frozen=True)
class BatchRenormMLP(TorsoChoice):
    """An MLP with batch renormalisation, for target-free critics (`agent/chain=none`) and for actors.

    Args:
        hidden: widths; the authors' critic has [2048, 2048], their actor [256, 256].
        momentum: of the running averages.
        settle: updates before the running averages correct the batch's moments.
        largest_ratio, largest_shift: r lies in [1 / largest_ratio, largest_ratio], d in ± largest_shift; from memory, not verified.
        epsilon: added to variances; from memory, not verified.
        head_hidden: hidden layers of the head; the authors' head is linear.
        init: initialiser of every layer, and of heads that name none.
    """

    needs = frozenset({"joint"})

    hidden: tuple[int, ...] = (256, 256)
    momentum: float = 0.99
    settle: int = 100_000
    largest_ratio: float = 3.0
    largest_shift: float = 5.0
    epsilon: float = 1e-3
    head_hidden: tuple[int, ...] = ()
    init: str = "torch"

    def __post_init__(self):
        widths(self, "hidden", "head_hidden")
        counts(self, settle=0)
        in_range(self, momentum=(0, 1), largest_ratio=(1, None), largest_shift=(0, None), epsilon=(0, None))
        one_of(self, init=SCHEMES)

    def corrections(self, mean: Tensor, variance: Tensor, running_mean: Tensor, running_variance: Tensor) -> tuple[Tensor, Tensor]:
        """r and d of moments of a batch and running averages."""
        deviation = (running_variance + self.epsilon).sqrt()
        r = ((variance + self.epsilon).sqrt() / deviation).clamp(1.0 / self.largest_ratio, self.largest_ratio)
        return r, ((mean - running_mean) / deviation).clamp(-self.largest_shift, self.largest_shift)

    def build(self, spec: Spec, n: int) -> nn.Module:
        return BatchRenorms(self, n, vector_size(spec, "batch_renorm"))
