"""Diagonal state-space core with stable reparameterisation (Wang, Li, ICML 2024, "StableSSM"): a linear recurrence whose decay rates are
made from trainable numbers w by a function that keeps them negative.

    u = norm(x)     s' = e^(Δλ) ⊙ s + (e^(Δλ) − 1)/λ ⊙ u     v = 2 Re⟨C, s'⟩ + D ⊙ u     y = x + (a ⊙ σ(b)),  [a, b] = gelu(v) W + bias

    Re λ:   direct  w      exp  −e^w      softplus  −ln(1 + e^w)      best  −1/(w² + 0.1)

Each of the channels has its own step Δ, log-uniform in [0.001, 0.1] at first, and N states with Im λ = π j and Re λ = −½ at first, as
S4D-Lin (Gu et al., 2022). The paper trains w with a rate of 1e-3 at most and without weight decay. Residual connection, norm and gate are
the authors' layer; a complex state is stored as real and imaginary parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.cores import Core, CoreChoice
from deeprl.learning.networks.layers import Init
from deeprl.learning.networks.mlp import linear, standard

RATES: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "direct": (lambda w: w, -0.5),
    "exp": (lambda w: -w.exp(), math.log(0.5)),
    "softplus": (lambda w: -F.softplus(w), math.log(math.expm1(0.5))),
    "best": (lambda w: -1 / (w.square() + 0.1), math.sqrt(1.9)),
}
"""Re λ as a function of w, and the w for which it is -0.5"""


class StateSpaceCore(Core):
    """State: layers × (real, imaginary) × width × N."""

    frequency: Tensor

    def __init__(self, n: int, inputs: int, width: int, states: int, layers: int, rate: str):
        super().__init__(n, inputs, width, layers * 2 * width * states)
        self.states, self.depth, (self.rate, first) = states, layers, RATES[rate]
        self.register_buffer("frequency", math.pi * torch.arange(states, dtype=torch.float32), persistent=False)
        self.add("weight_in", (n, inputs, width), Init("torch", inputs))
        self.add("bias_in", (n, 1, width), Init("torch", inputs))
        for i in range(layers):
            self.add(f"w_{i}", (n, width, states), Init("constant", value=first))
            self.add(f"log_step_{i}", (n, width), Init("made", make=partial(log_uniform, width)))
            self.add(f"c_{i}", (n, 2, width, states), Init("made", make=partial(torch.randn, 2, width, states)))
            self.add(f"d_{i}", (n, 1, width), Init("constant", value=1.0))
            self.add(f"weight_{i}", (n, width, 2 * width), Init("torch", width))
            self.add(f"bias_{i}", (n, 1, 2 * width), Init("torch", width))

    def prepare(self, x: Tensor) -> Tensor:
        weight, bias = (getattr(self, f"{name}_in") for name in ("weight", "bias"))
        return linear(x, weight, bias)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        n, rows = x.shape[:2]
        parts = state.reshape(n, rows, self.depth, 2, self.features, self.states)
        new = []
        for i in range(self.depth):
            weight, bias, c, d = (getattr(self, f"{name}_{i}") for name in ("weight", "bias", "c", "d"))
            u = standard(x).to(x.dtype)
            s = self.moved(i, parts[:, :, i].unbind(2), u)
            new.append(torch.stack(s, 2))
            v = 2 * (c[:, None, 0] * s[0] - c[:, None, 1] * s[1]).sum(-1) + d * u
            a, b = linear(F.gelu(v), weight, bias).chunk(2, -1)
            x = x + a * b.sigmoid()
        return x, torch.stack(new, 2).flatten(2)

    def moved(self, i: int, s: tuple[Tensor, ...], u: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of the state after an input u (n, B, width)."""
        rate, step = self.rate(getattr(self, f"w_{i}")), getattr(self, f"log_step_{i}").exp()[..., None]
        angle = step * self.frequency.to(rate.dtype)
        decay, size = (step * rate).exp(), rate.square() + self.frequency.to(rate.dtype).square()
        real, imaginary = decay * angle.cos(), decay * angle.sin()
        gain = ((real - 1) * rate + imaginary * self.frequency) / size, (imaginary * rate - (real - 1) * self.frequency) / size
        real, imaginary, gain_real, gain_imaginary = (part[:, None] for part in (real, imaginary, *gain))
        u = u[..., None]
        return real * s[0] - imaginary * s[1] + gain_real * u, real * s[1] + imaginary * s[0] + gain_imaginary * u


def log_uniform(width: int, low: float = 1e-3, high: float = 0.1) -> Tensor:
    return math.log(low) + (math.log(high) - math.log(low)) * torch.rand(width)


@dataclass(frozen=True)
class StableSSM(CoreChoice):
    """
    Args:
        width: channels, also the width of the output.
        states: N of each channel; a state of an episode has 2 · layers · width · N numbers.
        rate: how decay rates follow from trainable numbers: direct, exp, softplus or best.
    """

    width: int = 64
    states: int = 8
    layers: int = 1
    rate: str = "best"

    def __post_init__(self) -> None:
        in_range(self, width=(1, None), states=(1, None), layers=(1, None))
        one_of(self, rate=tuple(RATES))

    def build(self, inputs: int, n: int) -> Core:
        return StateSpaceCore(n, inputs, self.width, self.states, self.layers, self.rate)
