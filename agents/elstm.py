"""eLSTM and its exact real-time recurrent learning (Irie, Gopalakrishnan, Schmidhuber, ICLR 2024, "Exploring the Promise and Limits of
Real-Time Recurrent Learning"): an LSTM whose recurrent weights are element-wise.

    f = σ(x F + w_f ⊙ c + b_f)     z = tanh(x Z + w_z ⊙ c + b_z)     c' = f ⊙ c + (1 − f) ⊙ z     o = σ([x, c'] O + b_o)     h = o ⊙ c'

A unit's memory depends on its own past alone. So its sensitivities, ∂c/∂parameters, are as many numbers as the parameters, and a step of
forward differentiation costs as much as a step of the cell:

    A = (1 − f)(1 − z²)     B = (c − z) f (1 − f)     K = f + A ⊙ w_z + B ⊙ w_f                 (K = ∂c'/∂c)
    S_Z ← K S_Z + x A     S_F ← K S_F + x B     S_w ← K S_w + (A or B) c     S_b ← K S_b + (A or B)

The gradient then reaches back to the start of an episode, however short the segments are, and memory does not grow with its length. It is
exact for the parameters of one layer's memory while weights do not change; after an update the sensitivities are a little old, which the
paper accepts. O, and what lies before the cell, get the gradient within a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from deeprl.choice import in_range
from deeprl.learning.networks.cores import Core, CoreChoice
from deeprl.learning.networks.layers import Init


class Sensitivity(NamedTuple):
    """∂c by the parameters of each unit, for n stacked cells and B rows; index 0 of the third axis is of f, 1 of z."""

    weight: Tensor
    """(n, B, 2, inputs, H)"""
    memory: Tensor
    """(n, B, 2, H): of w"""
    bias: Tensor
    """(n, B, 2, H)"""


def normal(*shape: int, scale: float) -> Tensor:
    return torch.randn(shape) * scale


def remembering(width: int, horizon: float) -> Tensor:
    """Biases of f and z, (2, width): f = u / (1 + u) with u ~ U(1, horizon), so that a unit remembers for about 1 + u steps."""
    return torch.stack([(1 + (horizon - 1) * torch.rand(width)).log(), torch.zeros(width)])


def driven(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What the input gives to f and z: x (n, R, inputs) -> (n, R, 2, H)."""
    return torch.einsum("nri,ngih->nrgh", x, weight) + bias[:, None]


def gates(u: Tensor, memory: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """f and z (n, B, H) of u = `driven`, w = `memory` (n, 2, H) and the state c (n, B, H)."""
    f, z = (u + memory[:, None] * c[:, :, None]).unbind(2)
    return f.sigmoid(), z.tanh()


class ELSTMCore(Core):
    """State c (n, B, H), output h. Weights start as N(0, scale²), biases as zeros but for that of f, see `remembering`."""

    weight_x: Tensor
    weight_c: Tensor
    bias_c: Tensor
    weight_o: Tensor
    bias_o: Tensor

    def __init__(self, n: int, inputs: int, width: int, scale: float = 0.1, horizon: float = 1.0):
        super().__init__(n, inputs, width, width)
        drawn = {"weight_x": (2, inputs, width), "weight_c": (2, width), "weight_o": (inputs + width, width)}
        for name, shape in drawn.items():
            self.add(name, (n, *shape), Init("made", make=partial(normal, *shape, scale=scale)))
        self.add("bias_c", (n, 2, width), Init("made", make=partial(remembering, width, horizon)))
        self.add("bias_o", (n, 1, width), Init("constant", value=0.0))

    def prepare(self, x: Tensor) -> Tensor:
        """(n, R, inputs) -> (n, R, 3H): what the input gives to f, z and o."""
        return torch.cat([driven(x, self.weight_x, self.bias_c).flatten(2), self.gated(x)], -1)

    def gated(self, x: Tensor) -> Tensor:
        """What the input gives to o, (n, R, H)."""
        return torch.baddbmm(self.bias_o, x, self.weight_o[:, : self.inputs])

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        f, z = gates(x[..., : 2 * self.features].unflatten(-1, (2, -1)), self.weight_c, state)
        c = f * state + (1 - f) * z
        return self.output(x[..., 2 * self.features :], c), c

    def output(self, u: Tensor, c: Tensor) -> Tensor:
        """h (n, B, H) of u = `gated`."""
        return torch.baddbmm(u, c, self.weight_o[:, self.inputs :]).sigmoid() * c


@torch.no_grad()
def sensed(past: Sensitivity, x: Tensor, c: Tensor, f: Tensor, z: Tensor, memory: Tensor) -> Sensitivity:
    """Sensitivities after a step from c (n, B, H) with the input x (n, B, inputs)."""
    by = torch.stack([(c - z) * f * (1 - f), (1 - f) * (1 - z.square())], 2)  # B, A
    k = (f + (by * memory[:, None]).sum(2))[:, :, None]
    weight = k[:, :, None] * past.weight + x[:, :, None, :, None] * by[:, :, :, None]
    return Sensitivity(weight, k * past.memory + by * c[:, :, None], k * past.bias + by)


class ExactELSTMCore(ELSTMCore):
    """The same cell, trained by real-time recurrent learning: state (c, its sensitivities), and no gradient through the state."""

    def __init__(self, n: int, inputs: int, width: int, scale: float = 0.1, horizon: float = 1.0):
        super().__init__(n, inputs, width, scale, horizon)
        self.shapes = (2, inputs, width), (2, width), (2, width)
        self.size = sum(self.numbers)

    @property
    def numbers(self) -> list[int]:
        """Of c, and of each sensitivity."""
        return [self.features, *(prod(shape) for shape in self.shapes)]

    def prepare(self, x: Tensor) -> Tensor:
        """(n, R, inputs) -> (n, R, 3H + inputs): as in the base class, and the input. The memory has its gradient from `carried` alone."""
        u = driven(x, self.weight_x.detach(), self.bias_c.detach())
        return torch.cat([u.flatten(2), self.gated(x), x], -1)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        u, gated, x = x.split([2 * self.features, self.features, self.inputs], -1)
        c, *parts = state.detach().split(self.numbers, -1)
        memory = self.weight_c.detach()
        f, z = gates(u.unflatten(-1, (2, -1)), memory, c)
        past = Sensitivity(*(part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes)))
        past = sensed(past, x, c, f, z, memory)
        c = f * c + (1 - f) * z
        return self.output(gated, c + self.carried(past)), torch.cat([c.detach(), *(part.flatten(2) for part in past)], -1)

    def carried(self, s: Sensitivity) -> Tensor:
        """(n, B, H): zeros whose gradient by the parameters of the memory is s."""
        weight, memory, bias = (parameter - parameter.detach() for parameter in (self.weight_x, self.weight_c, self.bias_c))
        return (s.weight * weight[:, None]).sum((2, 3)) + (s.memory * memory[:, None] + s.bias * bias[:, None]).sum(2)


@dataclass(frozen=True)
class ELSTM(CoreChoice):
    """
    Args:
        width: units H, also the width of the output.
        scale: standard deviation of the weights at the start; the authors' code has 0.1.
        horizon: steps for which units remember at the start, at most (Tallec, Ollivier, 2018, "Can Recurrent Neural Networks Warp Time?").
            1: f is ½ at first, as the authors have it, and forgets within a few steps.
    """

    width: int = 128
    scale: float = 0.1
    horizon: float = 1.0

    def __post_init__(self) -> None:
        in_range(self, width=(1, None), scale=(0, None), horizon=(1, None))

    def build(self, inputs: int, n: int) -> Core:
        return ELSTMCore(n, inputs, self.width, self.scale, self.horizon)


@dataclass(frozen=True)
class ExactELSTM(ELSTM):
    """As `ELSTM`, trained by real-time recurrent learning. A state has (2 · inputs + 5) · width numbers."""

    def build(self, inputs: int, n: int) -> Core:
        return ExactELSTMCore(n, inputs, self.width, self.scale, self.horizon)
