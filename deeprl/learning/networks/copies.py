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


def without_numbers(network: nn.Module) -> nn.Module:
    """The layers on "meta". A parameter in two places stays one, of which torch would make two."""
    places = [(layer, name, id(it)) for layer in network.modules() for name, it in layer._parameters.items() if it is not None]
    network.to("meta")
    first: dict[int, nn.Parameter | None] = {}
    for layer, name, it in places:
        layer._parameters[name] = first.setdefault(it, layer._parameters[name])
    return network


class Copies(Block):
    """(B, *obs), as floats, -> (n, B, features): n networks that differ in their parameters only, each computed by itself.

    Each starts as `make` leaves it, under a generator that belongs to this entry of the stack. What else `make` draws from torch is the
    same in every run, because no checkpoint holds it. A parameter in two places is one parameter.

    Args:
        n: stack size.
        make: one network, (B, *obs) -> (B, features); without buffers and dropout, because a network here is a function of its
            parameters and its input.
        shape: of one observation.

    Raises:
        ValueError: the network has buffers or dropout, or a parameter that is not to be trained.
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
            if frozen := [name for name, parameter in one.named_parameters() if not parameter.requires_grad]:
                raise ValueError(
                    f"{type(self).__name__}: {frozen[0]} has requires_grad=False, and all parameters of a torso are trained: keep what "
                    "stays as it is in an attribute that is a plain tensor, which is the same in every run"
                )
            self.features = one(torch.zeros(1, *shape)).shape[-1]  # on "meta" torch would import its compiler, a second of processor
        self.n = n
        self.names = {name: name.replace(".", "/") for name, _ in one.named_parameters()}
        self.one = (without_numbers(one),)  # in a tuple, which hides the layers' own parameters
        for name, parameter in one.named_parameters():
            self.add(self.names[name], (n, *parameter.shape), Init("made", make=partial(parameter_of, make, name), together=True))

    def forward(self, obs: Tensor) -> Tensor:
        stacks = {name: getattr(self, mine) for name, mine in self.names.items()}
        obs = obs.to(torch.float32)
        return torch.stack([functional_call(self.one[0], {k: stack[i] for k, stack in stacks.items()}, (obs,)) for i in range(self.n)])
