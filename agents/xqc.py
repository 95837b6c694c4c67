"""The torso of XQC (Palenicek, Vogt, Watson, Posner, Peters, ICLR 2026): dense layers with batch normalisation and weights of length 1.
Both keep the loss well conditioned.

    x ← BN(s);     x ← relu(BN(W x))     for each layer

No layer has a bias. At the start and after each update every column of a weight (in, out) is projected to length 1; scales and shifts of
the norms are free. The critic is a categorical head with weights of length 1 on it, the agent is SAC: `configs/agent/xqc.yaml`.

Provenance: the order of the layers, the sizes, ε, momentum, projections and the actor's averages are read in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.batch_norm import BatchNorms
from deeprl.learning.networks.blocks import Torso
from deeprl.learning.networks.layers import SCHEMES, Init
from deeprl.learning.networks.residual_mlp import entered, vector_size
from deeprl.learning.networks.torsos import TorsoChoice, widths
from deeprl.learning.networks.unit_norm import unit_columns
from deeprl.types import Spec


class UnitBatchNorms(BatchNorms):
    """n MLPs, (B, inputs) -> (n, B, width). Norm 0 belongs to the observation, norm i + 1 follows the weights of layer i."""

    def __init__(self, choice: UnitBatchNorm, n: int, inputs: int):
        super().__init__(n, choice.momentum, choice.epsilon)
        self.sizes, self.every_update = (inputs, *choice.hidden), choice.every_update
        self.features = self.sizes[-1]
        self.add_norm(inputs)
        for i, (inside, outside) in enumerate(zip(self.sizes, self.sizes[1:])):
            self.add(f"weight_{i}", (n, inside, outside), Init(choice.init, inside, outside))
            self.add_norm(outside)

    @torch.no_grad()
    def project_(self) -> None:
        for i in range(len(self.sizes) - 1):
            weight = self.of("weight", i)
            weight.copy_(unit_columns(weight))

    def layered(self, obs: Tensor, norm: Callable[[int, Tensor], Tensor]) -> Tensor:
        x = norm(0, entered(obs, self.sizes[0], self.n))
        for i in range(len(self.sizes) - 1):
            x = norm(i + 1, x @ self.of("weight", i)).relu()
        return x


@dataclass(frozen=True)
class UnitBatchNorm(TorsoChoice):
    """The torso of XQC, for critics that see both ends of a batch together (`agent/chain=polyak_joint` or
    `online_target`) and for actors.

    Args:
        hidden: widths; the authors' critic has four of 512, their actor four of 256.
        momentum, epsilon: of batch normalisation.
        every_update: of an actor: its running averages move at every update of the critics, and not only at its own updates.
        head_hidden: hidden layers of the head; the authors' head is linear, with `unit=true`.
        init: initialiser of all weights, before their projection, and of heads that name none.
    """

    needs = frozenset({"joint"})

    hidden: tuple[int, ...] = (512, 512, 512, 512)
    momentum: float = 0.99
    epsilon: float = 1e-3
    every_update: bool = False
    head_hidden: tuple[int, ...] = ()
    init: str = "orthogonal_relu"

    def __post_init__(self):
        widths(self, "hidden", "head_hidden")
        in_range(self, momentum=(0, 1), epsilon=(0, None))
        one_of(self, init=SCHEMES)

    def build(self, spec: Spec, n: int) -> Torso:
        return UnitBatchNorms(self, n, vector_size(spec, "unit_batch_norm"))
