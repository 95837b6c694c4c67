"""Weight normalisation (Salimans and Kingma, 2016): w = g v / ‖v‖ for each output unit.

The length of a unit's weights and their direction become parameters of their own; ∂L/∂v is orthogonal to v. g starts as ‖v‖, so that
the network starts as it was. (The paper's data-dependent start is not here; whether its DQN experiment used it is not known.)

Copying g and v copies w: hard target updates are exact. An average of g and of v is not the average of w.
"""

from __future__ import annotations

import torch
from torch import nn

from deeprl.networks.blocks import Block
from deeprl.networks.layers import Init, lengths

OPTIONS = ("none", "hidden", "all")
"""Which layers: none, all but the last of a head, or every one."""


@torch.no_grad()
def weight_normalise(module: nn.Module, which: str) -> None:
    """Give the layers of every block in `module` a gain, in place; after `initialise`, since a gain starts as the length of the weights.

    Raises:
        ValueError: a block cannot have gains.
    """
    if which == "none":
        return
    for block in module.modules():
        if isinstance(block, Block):
            for layer in block.layers(outputs=which == "all"):
                length = lengths(getattr(block, f"weight_{layer}"))
                block.add(f"gain_{layer}", tuple(length.shape), Init("constant", value=1.0))
                block.get_parameter(f"gain_{layer}").copy_(length)
                block.gained.add(layer)
