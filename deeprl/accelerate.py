"""How the same mathematics is computed: plain modules, one autograd node per block, or a compiled gradient.

`reference` is the oracle; `fast` agrees with it up to rounding. What runs is decided by fixed rules before training, never by timing
inside a run, because different products differ in their last bits.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from deeprl.networks.blocks import Block

MODES = ("reference", "fast", "compiled")


def apply(agent: nn.Module, mode: str) -> None:
    """Choose the form of every block. A compiled gradient is traced over plain blocks.

    Raises:
        ValueError: unknown mode ("auto" is decided by whoever knows the budget).
    """
    if mode not in MODES:
        raise ValueError(f"accelerate must be one of {', '.join(MODES)}, not {mode!r}")
    for block in agent.modules():
        if isinstance(block, Block):
            block.fast = mode == "fast"


class Cpu(NamedTuple):
    vendor: str
    amx: bool
    """Tiles that would make "medium" compute in bfloat16."""


@lru_cache(maxsize=1)
def this_cpu() -> Cpu:
    vendor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        vendor = next(line.split(":")[1].strip() for line in lines if line.startswith("vendor_id"))
    except (OSError, StopIteration):
        pass
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return Cpu(vendor, True if tiles is None else bool(tiles()))        # unknown counts as AMX: the safe side


def product(n: int, widest: int, cpu: Cpu | None = None) -> str:
    """Which float32 product a learner on the CPU uses, for `precision`.

    MKL, torch's default, falls back to AVX2 on AMD; "medium" sends products to oneDNN, which uses AVX-512 and stays in float32 as long as
    the processor has no AMX. It pays for wide layers and for stacks; a single small network is as quick on MKL. Elsewhere "highest".

    Args:
        n: stack size of the largest block.
        widest: its widest layer, inputs included.
    """
    cpu = cpu or this_cpu()
    if cpu.vendor != "AuthenticAMD" or cpu.amx or not torch.backends.mkldnn.is_available():
        return "highest"
    return "medium" if n > 1 or widest >= 128 else "highest"


class precision:
    """Set the float32 product for a `with` block and put the old one back; some 0.3 microseconds. Reusable."""

    __slots__ = ("choice", "before")

    def __init__(self, choice: str):
        self.choice, self.before = choice, choice

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.choice)

    def __exit__(self, *_) -> None:
        torch.set_float32_matmul_precision(self.before)


_numbers = itertools.count()


def compile_gradient(loss: Callable, *, has_aux: bool = False, backend: str = "inductor") -> Callable:
    """Compile `grad_and_value(loss)`: gradients with respect to the first argument, and the loss.

    The gradient belongs inside the compiled function: compiling the loss alone gives nearly all of the gain back. Call the result under
    `no_grad` and always under the same matmul precision, or it compiles again.

    Args:
        loss: pure, `loss(parameters, *rest) -> scalar`, or (scalar, auxiliary tensors) with `has_aux`.
        backend: "eager" traces only, for tests without a compiler.
    """
    gradient = torch.func.grad_and_value(loss, has_aux=has_aux)

    def call(*arguments):
        return gradient(*arguments)

    # Dynamo keeps its cache, and counts recompilations, per code object; every closure made here would share one.
    call.__code__ = call.__code__.replace(co_name=f"gradient_{next(_numbers)}")
    options = {"cpp_wrapper": True} if backend == "inductor" else None
    return torch.compile(call, fullgraph=True, backend=backend, options=options)
