"""n networks of plain torch layers, with the stack axis that chains need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from deeprl.learning.networks.blocks import Block
from deeprl.learning.networks.layers import Init


def parameter_of(make: Callable[[], nn.Module], name: str) -> Tensor:
    return make().get_parameter(name)


class Copies(Block):
    """(B, *obs), as floats, -> (n, B, features): n networks that differ in their parameters only, each computed by itself.

    A parameter starts as `make` leaves it, under a generator that belongs to this parameter and this entry of the stack. What else `make`
    draws from torch is the same in every run, because no checkpoint holds it.

    Args:
        n: stack size.
        make: one network, (B, *obs) -> (B, features); without buffers and dropout, because a network here is a function of its
            parameters and its input.
        shape: of one observation.
    """

    def __init__(self, n: int, make: Callable[[], nn.Module], shape: Sequence[int]):
        super().__init__()
        with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
            torch.manual_seed(0)
            one = make()
            if found := [
                type(layer).__name__
                for layer in one.modules()
                if isinstance(layer, nn.modules.dropout._DropoutNd) or [*layer.buffers(recurse=False)]
            ]:
                raise ValueError(
                    f"{type(self).__name__}: a network with {found[0]}, which has buffers or dropout, is no torso: take LayerNorm or "
                    "GroupNorm, or agent/torso=batch_renorm or unit_batch_norm; dropout is a key of agent/torso=mlp"
                )
            self.features = one(torch.zeros(1, *shape)).shape[-1]  # on "meta" torch would import its compiler, a second of processor
        self.n = n
        self.one = (one.to("meta"),)  # the layers without numbers, in a tuple, which hides the layers' own parameters
        self.names = {name: name.replace(".", "/") for name, _ in one.named_parameters()}
        for name, parameter in one.named_parameters():
            self.add(self.names[name], (n, *parameter.shape), Init("made", make=partial(parameter_of, make, name)))

    def forward(self, obs: Tensor) -> Tensor:
        stacks = {name: getattr(self, mine) for name, mine in self.names.items()}
        obs = obs.to(torch.float32)
        return torch.stack([functional_call(self.one[0], {k: stack[i] for k, stack in stacks.items()}, (obs,)) for i in range(self.n)])
