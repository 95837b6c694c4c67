"""Dense layers with batch renormalisation (Ioffe, 2017), the networks of CrossQ (Bhatt and others, 2024).

    BRN    x̂ = scale ((x − μ) / σ · r + d) + shift        r = σ / σ̄ and d = (μ − μ̄) / σ̄, both cut off and without gradient
    torso  x ← BRN(s);    x ← BRN(relu(W x + b))    for each layer

μ and σ are those of the batch, μ̄ and σ̄ their running averages, which replace them outside of the loss that trains the network
(`deeprl.learning.networks.batch_norm`). Before the averages have settled, r = 1 and d = 0: batch
normalisation. With r and d not cut off, x̂ is the same inside the loss and outside.

σ² and σ̄² contain ε, as Ioffe has it. CrossQ's code adds ε to s² / r², with s² the variance without it, and shifts by d s / √(s² + ε r²) in
place of d: the same but for variances that are small beside ε.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.choice import counts, in_range, one_of
from deeprl.learning.networks.batch_norm import BatchNorms
from deeprl.learning.networks.blocks import Torso
from deeprl.learning.networks.layers import SCHEMES, Init
from deeprl.learning.networks.mlp import linear
from deeprl.learning.networks.residual_mlp import entered, vector_size
from deeprl.learning.networks.torsos import TorsoChoice, widths
from deeprl.types import Spec


class BatchRenorms(BatchNorms):
    """n MLPs, (B, inputs) -> (n, B, width). Norm 0 belongs to the observation, norm i + 1 to layer i. All norms share `taken`, the batches
    so far."""

    taken: Tensor

    def __init__(self, choice: BatchRenormMLP, n: int, inputs: int):
        super().__init__(n, choice.momentum, choice.epsilon)
        self.choice, self.sizes = choice, (inputs, *choice.hidden)
        self.features = self.sizes[-1]
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        for width in self.sizes:
            self.add_norm(width)
        for i, (inside, outside) in enumerate(zip(self.sizes, self.sizes[1:])):
            self.add(f"weight_{i}", (n, inside, outside), Init(choice.init, inside, outside))
            self.add(f"bias_{i}", (n, 1, outside), Init(choice.init, inside, outside, bias=True))

    def learn(self, obs: Tensor, counted: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        features, new = super().learn(obs, counted)
        return features, {**new, "taken": self.taken + 1}

    def corrected(self, i: int, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        r, d = self.choice.renorm_factors(mean, variance, self.of("running_mean", i), self.of("running_variance", i))
        return torch.where(self.taken >= self.choice.settle, x * r + d, x)

    def layered(self, obs: Tensor, norm: Callable[[int, Tensor], Tensor]) -> Tensor:
        x = norm(0, entered(obs, self.sizes[0], self.n))
        for i in range(len(self.sizes) - 1):
            x = norm(i + 1, linear(x, self.of("weight", i), self.of("bias", i)).relu())
        return x


@dataclass(frozen=True)
class BatchRenormMLP(TorsoChoice):
    """An MLP with batch renormalisation, for critics that see both ends of a batch together (`agent/chain=online_target` or
    `polyak_joint`) and for actors.

    Args:
        hidden: widths; the authors' critic has [2048, 2048], their actor [256, 256].
        momentum: of the running averages.
        settle: updates before the running averages correct the batch's moments.
        largest_ratio, largest_shift: r lies in [1 / largest_ratio, largest_ratio], d in ± largest_shift; as in the authors' code.
        epsilon: added to variances; as in the authors' code.
        head_hidden: hidden layers of the head; the authors' head is linear.
        init: initialiser of every layer, and of heads that name none.
    """

    needs = frozenset({"joint"})
    former: ClassVar = {"corrections": "renorm_factors"}

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

    def renorm_factors(self, mean: Tensor, variance: Tensor, running_mean: Tensor, running_variance: Tensor) -> tuple[Tensor, Tensor]:
        """r and d, (n, 1, width) each, of moments of a batch and running averages of this shape."""
        deviation = (running_variance + self.epsilon).sqrt()
        r = ((variance + self.epsilon).sqrt() / deviation).clamp(1.0 / self.largest_ratio, self.largest_ratio)
        return r, ((mean - running_mean) / deviation).clamp(-self.largest_shift, self.largest_shift)

    def build(self, spec: Spec, n: int) -> Torso:
        return BatchRenorms(self, n, vector_size(spec, "batch_renorm"))
