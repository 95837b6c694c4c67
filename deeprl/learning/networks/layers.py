"""Initial values and the noise of noisy layers: functions of numbers, no modules.

A scheme fills one stack entry of one parameter with numbers from the generator of that entry:

    torch            weights and biases U(-1/sqrt(fan_in), 1/sqrt(fan_in))     PyTorch's default for Linear and Conv2d
    glorot_uniform   U(-l, l), l = sqrt(6 / (fan_in + fan_out))                Dopamine's DQN
    glorot_normal    truncated at 2 sigma, variance 2 / (fan_in + fan_out)     theovincent/i-DQN
    lecun_normal     truncated at 2 sigma, variance 1 / fan_in                 JAX default
    he_normal        truncated at 2 sigma, variance 2 / fan_in                 SonyResearch/simba, inside residual blocks
    orthogonal       uniform over matrices with orthonormal rows or columns    SonyResearch/simba, first layer
    orthogonal_relu  sqrt(2) times such a matrix, the gain of a ReLU           naumix/BiggerRegularizedOptimistic
    orthogonal_small 0.01 times such a matrix                                  last layer of PPO's policy in CleanRL
    quantile         U(-l, l), l = sqrt(sqrt(3) / fan_in)                      C51, QR-DQN, IQN in Dopamine
    small            U(-0.003, 0.003)                                          last layers of DDPG (Lillicrap et al., 2016)

Biases are zero except under `torch` and `small`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

NORMAL = ("glorot_normal", "lecun_normal", "he_normal")
GAINS = {"orthogonal": 1.0, "orthogonal_relu": math.sqrt(2), "orthogonal_small": 0.01}
"""Length of the rows or columns of an orthogonal matrix"""
SCHEMES = ("torch", "glorot_uniform", *NORMAL, *GAINS, "quantile", "small")
TRUNCATION = 0.87962566103423978
"""Standard deviation of a unit normal truncated at two: drawing with sigma / TRUNCATION gives variance sigma²."""


class Init(NamedTuple):
    """Initialiser of one parameter of a block: the value of `block.initial[name]`."""

    scheme: str
    fan_in: int = 1
    fan_out: int = 1
    bias: bool = False
    value: float = 0.0
    """Value of the scheme "constant" """
    make: Callable[[], Tensor] | None = None
    """Draws the value of the scheme "made" from torch's own generator"""
    together: bool = False
    """All parameters of a block draw from one generator, each for itself: `make` makes them all, and gives one of them"""


def fill_(tensor: Tensor, init: Init, generator: torch.Generator) -> None:
    """Fill a tensor. The numbers are drawn on the CPU for every device, so that a run on a GPU starts from the same weights.

    Raises:
        ValueError: unknown scheme.
    """
    if init.scheme == "constant":
        tensor.fill_(init.value)
        return
    if init.make is not None:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(generator.initial_seed())
            tensor.copy_(init.make())
        return
    if init.scheme not in SCHEMES:
        raise ValueError(f"init must be one of {', '.join(SCHEMES)}, not {init.scheme!r}")
    drawn = torch.empty(tensor.shape, dtype=torch.float32, device="cpu")
    if init.bias and init.scheme not in ("torch", "small"):
        drawn.zero_()
    elif init.scheme in GAINS:
        # in float64, because the rounding of the decomposition depends on the number of threads; float32 hides it
        drawn = torch.nn.init.orthogonal_(drawn.double(), GAINS[init.scheme], generator)
    elif init.scheme in NORMAL:
        fans = {"glorot_normal": (init.fan_in + init.fan_out) / 2, "lecun_normal": init.fan_in, "he_normal": init.fan_in / 2}
        deviation = math.sqrt(1 / fans[init.scheme]) / TRUNCATION
        torch.nn.init.trunc_normal_(drawn, 0.0, deviation, -2 * deviation, 2 * deviation, generator=generator)
    else:
        limit = {
            "torch": init.fan_in**-0.5,
            "glorot_uniform": math.sqrt(6 / (init.fan_in + init.fan_out)),
            "quantile": math.sqrt(math.sqrt(3) / init.fan_in),
            "small": 0.003,
        }[init.scheme]
        drawn.uniform_(-limit, limit, generator=generator)
    tensor.copy_(drawn)


def signed_sqrt(x: Tensor) -> Tensor:
    """sign(x) sqrt|x|: factors of factorised Gaussian noise (Fortunato et al., 2018, equation 10 ff.)."""
    return x.sign() * x.abs().sqrt()


def lengths(weight: Tensor) -> Tensor:
    """Euclidean length of each output unit's weights: (n, in, out) -> (n, 1, out), (n, out, in, h, w) -> (n, out, 1, 1, 1)."""
    return torch.linalg.vector_norm(weight, dim=1 if weight.dim() == 3 else (2, 3, 4), keepdim=True)


def rescaled(weight: Tensor, gain: Tensor) -> Tensor:
    """g v / ‖v‖ (Salimans and Kingma, 2016); with g = ‖v‖ it is v, bit for bit."""
    return weight * (gain / lengths(weight))
