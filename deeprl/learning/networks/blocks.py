"""Base of all layers with a leading stack axis n (chained iterations x ensemble x seeds), and how their parameters start.

Parameters start as zeros and without `requires_grad`, because `initialise` fills them and `deeprl.running.training.learner.gradient` sets
the flag.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from deeprl.learning.networks.layers import Init, fill_, rescaled
from deeprl.noise import torch_generator

REMEDY = (
    "put layers of torch into `Copies(n, make, shape)` of deeprl.learning.networks.copies; a layer of your own derives from `Block` and "
    "makes its parameters by `self.add(name, (n, ...), Init(...))`, see deeprl.learning.networks.blocks"
)
"""For a parameter without the stack axis or without an initial value"""


class Block(nn.Module):
    """Base class of modules that declare an initialiser, `initial[name]`, for each parameter.

    A block whose parameters obey a constraint, such as weights of length 1, has a method `project_()` that restores it in place. The method
    is called by `initialise`, and after every update of the parameters: its own, or those of its parts, whose `project_` come first.

    A buffer that follows the weights, such as an estimate of their largest singular vectors, is made by `carry`. A block that has one has a
    method `restart_()`, which finds it for new weights, see `initialise`.
    """

    def __init__(self):
        super().__init__()
        self.initial: dict[str, Init] = {}
        self.gained: set[int] = set()
        """Layers with normalised weights, see `deeprl.learning.networks.weight_norm`."""
        self.followers: list[str] = []
        """Names of the buffers made by `carry`"""

    def add(self, name: str, shape: tuple[int, ...], init: Init) -> None:
        self.register_parameter(name, nn.Parameter(torch.zeros(shape), requires_grad=False))
        self.initial[name] = init

    def carry(self, name: str, value: Tensor) -> None:
        """Add a buffer (n, ...) that belongs to the weights: whatever copies, shifts or averages them takes it along, see `moved`."""
        self.register_buffer(name, value)
        self.followers.append(name)

    def weight(self, layer: int) -> Tensor:
        """`weight_<layer>` in the form that the layer applies, normalised if it has a gain."""
        weight = getattr(self, f"weight_{layer}")
        return rescaled(weight, getattr(self, f"gain_{layer}")) if layer in self.gained else weight

    def layers(self, outputs: bool) -> Sequence[int]:
        """Layers whose weights can be normalised; with `outputs` also the last one of a head.

        Raises:
            ValueError: the block does not support it.
        """
        raise ValueError(f"weight_norm does not work with {type(self).__name__}")


def moved(module: nn.Module) -> list[Tensor]:
    """What moves when networks are copied, shifted or averaged: parameters, then the buffers that blocks carry with them."""
    blocks = [block for block in module.modules() if isinstance(block, Block)]
    return [*module.parameters(), *(getattr(block, name) for block in blocks for name in block.followers)]


def initialise(module: nn.Module, seed: int, place: str) -> None:
    """Fill every parameter of `module`. The first axis is the stack: entry i of parameter `name` takes the generator (seed, "init",
    "place.name", i), or that of its block, see `Init.together`.

    So entry 0 of a stack of five equals a stack of one, and another part does not change the rest. Blocks with `project_` are projected,
    and blocks whose buffers depend on batches or weights before have `restart_`, which forgets these; parts before their whole.

    Raises:
        ValueError: a parameter has no entry in its owner's `initial`.
    """
    with torch.no_grad():
        for prefix, owner in module.named_modules():
            for name, parameter in owner.named_parameters(recurse=False):
                path = f"{place}.{prefix}.{name}" if prefix else f"{place}.{name}"
                init = getattr(owner, "initial", {}).get(name)
                if init is None:
                    raise ValueError(f"{path}: {type(owner).__name__} declares no initial value for it: {REMEDY}")
                drawn = path.rpartition(".")[0] if init.together else path
                for i, entry in enumerate(parameter):
                    fill_(entry, init, torch_generator(seed, "init", drawn, i))
        owners: list[Any] = [*module.modules()]
        for owner in reversed(owners):
            if hasattr(owner, "project_"):
                owner.project_()
            if hasattr(owner, "restart_"):
                owner.restart_()


class Torso(Protocol):
    """A module (B, *obs) -> (n, B, features), built by a `deeprl.learning.networks.torsos.TorsoChoice`."""

    features: int

    def __call__(self, obs: Tensor, /, *noise: dict[str, Tensor]) -> Tensor: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


class BatchTorso(Torso, Protocol):
    """A torso with running statistics of batches, such as those of `deeprl.learning.networks.batch_norm`."""

    def learn(self, x: Tensor, counted: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """See `learning`."""


class DropoutTorso(Torso, Protocol):
    """A torso that takes random numbers, such as those of `deeprl.learning.networks.dropout`."""

    def noise(self, count: int, generator) -> dict[str, Tensor]:
        """Numbers of `count` evaluations."""


def has_statistics(torso: object) -> TypeGuard[BatchTorso]:
    """Whether a torso has running statistics of batches, which a method `learn` renews (`deeprl.learning.networks.batch_norm`)."""
    return hasattr(torso, "learn")


def has_dropout(torso: object) -> TypeGuard[DropoutTorso]:
    """Whether a torso takes random numbers, which a method `noise` draws (`deeprl.learning.networks.dropout`)."""
    return hasattr(torso, "noise")


def learning(torso: Torso, x: Tensor, *noise: dict[str, Tensor], counted: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Features of a batch in the loss that trains the torso, and new values of the torso's buffers by name.

    A torso without running statistics computes as usual.

    Args:
        counted: (B,), which rows of the batch count in its statistics; None: all.
    """
    return torso.learn(x, counted) if has_statistics(torso) else (torso(x, *noise), {})


def stacked(block: nn.Module, features: Tensor) -> Tensor:
    """Apply a block with a stack axis to features with any batch axes: (n, *B, F) -> (n, *B, outputs)."""
    return block(features.flatten(1, -2)).unflatten(1, features.shape[1:-1])
