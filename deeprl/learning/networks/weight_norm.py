"""Weight normalisation (Salimans and Kingma, 2016): w = g v / ‖v‖ for each output unit.

Length and direction of a unit's weights become separate parameters; ∂L/∂v is orthogonal to v. g starts as ‖v‖, so that the initial network
is unchanged. (The paper's data-dependent initialisation is not included; whether its DQN experiment used it is not known.)

Copies of g and v copy w, so that hard target updates are exact. An average of g and v is not the average of w, hence refused.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from deeprl.learning.networks.blocks import Block, initialise
from deeprl.learning.networks.layers import Init, lengths

OPTIONS = ("none", "hidden", "all")
"""Normalised layers: none, all but the last of a head, or all."""


def initialise_with_gains(module: nn.Module, seed: int, place: str, which: str) -> None:
    """Fill the parameters of `module` as `initialise` does, then give its layers gains as `weight_normalise` does."""
    initialise(module, seed, place)
    weight_normalise(module, which)


@torch.no_grad()
def weight_normalise(module: nn.Module, which: str) -> None:
    """Give the layers of every block in `module` a gain, in place. `initialise` comes first, because a gain starts as the length of the
    weights.

    Raises:
        ValueError: a block cannot have gains, or a unit's weights are all zero.
    """
    if which == "none":
        return
    for block in module.modules():
        if isinstance(block, Block):
            for layer in block.layers(outputs=which == "all"):
                length = lengths(getattr(block, f"weight_{layer}"))
                if which == "all" and not length.all():
                    raise ValueError(
                        "agent.torso.weight_norm=all divides by the length of a unit's weights, and a last layer starts with zeros: set "
                        "agent.torso.weight_norm=hidden, or agent.mapping.zero_negative=false where a mapping starts it so"
                    )
                block.add(f"gain_{layer}", tuple(length.shape), Init("constant", value=1.0))
                block.gained.add(layer)
    measure_gains_(module)


@torch.no_grad()
def zero_last_(block: Block) -> None:
    """Let the last layer give 0, and learn: its weights are 0, or where they have a gain this is, because a direction cannot be 0."""
    layer = block.layers(outputs=True)[-1]
    for name in ("gain" if layer in block.gained else "weight", "bias"):
        block.get_parameter(f"{name}_{layer}").zero_()


def refuse_average(module: nn.Module, tau: float) -> None:
    """
    Raises:
        ValueError: a target network approaches `module`, which has gains, by steps of `tau`.
    """
    if tau < 1.0 and any(getattr(block, "gained", ()) for block in module.modules()):
        raise ValueError(
            f"weight_norm must be none where target networks are averages (tau={tau}), because an average of lengths and directions is no "
            "average of weights: choose a chain that copies, such as agent/chain=single, or set tau=1"
        )


@torch.no_grad()
def measure_gains_(module: nn.Module, kept: Collection[str] = ()) -> list[str]:
    """Set every gain to the length of its weights, so that the layer is the plain one, except gains whose names are in `kept`. Returns the
    names of those that were set."""
    measured = []
    for place, block in module.named_modules():
        for layer in getattr(block, "gained", ()):
            name = f"{place}.gain_{layer}".removeprefix(".")
            if name not in kept:
                module.get_parameter(name).copy_(lengths(block.get_parameter(f"weight_{layer}")))
                measured.append(name)
    return measured
