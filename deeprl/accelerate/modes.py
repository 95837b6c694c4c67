"""How the same mathematics is computed: modes, layouts, float32 products. Compiling is in `deeprl.accelerate.compiled`.

`reference` is the oracle; `fast` agrees with it up to rounding. What runs is decided by fixed rules before training, never by timing
inside a run, because different products differ in their last bits.
"""

from __future__ import annotations

import torch
from torch import nn

from deeprl.networks.blocks import MLP, ImageBlock
from deeprl.system.machine import Cpu, this_cpu

MODES = ("reference", "fast", "compiled")


WORTH_COMPILING = 50_000
"""Updates. Compiling takes some 10 s the first time; it saves between a fraction of a millisecond and several of them at every update."""


SMALL_IMAGE = 32
"""Pixels of a side. On larger images convolutions decide, and these are quicker channels-last (benchmarks.speed atari_loop)."""


def choose(updates: float, device: str, compiler: bool) -> str:
    """What `accelerate=auto` means for a run of so many updates."""
    if not device.startswith("cpu"):
        return "reference"
    return "compiled" if compiler and updates >= WORTH_COMPILING else "fast"


def apply(agent: nn.Module, mode: str) -> None:
    """Choose the form of the blocks that have several. `fast` has images channels-last, and so has `compiled` if they are large; of small
    ones it makes patches, and products and biases are apart.

    Raises:
        ValueError: unknown mode ("auto" is decided by whoever knows the budget).
    """
    if mode not in MODES:
        raise ValueError(f"accelerate must be one of {', '.join(MODES)}, not {mode!r}")
    for block in agent.modules():
        if isinstance(block, MLP):
            block.apart = mode == "compiled"
        if isinstance(block, ImageBlock):
            small = max(block.shape[1:]) <= SMALL_IMAGE
            block.patches = mode == "compiled" and small
            block.channels_last = mode != "reference" and not block.patches


def product(n: int, widest: int, cpu: Cpu | None = None) -> str:
    """Which float32 product a learner on the CPU uses, for `precision`.

    MKL, torch's default, falls back to AVX2 on AMD; "medium" sends products to oneDNN, which uses AVX-512 and stays in float32 as long as
    the processor has no AMX. It pays for wide layers and for stacks; one or two small networks are quicker on MKL. Elsewhere "highest".
    `python -m benchmarks.product` prints the table behind the rule.

    Args:
        n: stack size of the largest block.
        widest: its widest layer, inputs included.
    """
    cpu = cpu or this_cpu()
    if cpu.vendor != "AuthenticAMD" or cpu.amx or not torch.backends.mkldnn.is_available():
        return "highest"
    return "medium" if widest >= 128 or n * widest >= 256 else "highest"


class precision:
    """Set the float32 product for a `with` block and put the old one back; some 0.3 microseconds. Reusable."""

    __slots__ = ("choice", "before")

    def __init__(self, choice: str):
        self.choice, self.before = choice, choice

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        if self.before != self.choice:
            torch.set_float32_matmul_precision(self.choice)

    def __exit__(self, *_) -> None:
        if self.before != self.choice:
            torch.set_float32_matmul_precision(self.before)
