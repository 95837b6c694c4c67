"""How the same mathematics is computed: layouts, float32 products, memory, compiled gradients.

`reference` is the oracle; `fast` agrees with it up to rounding. What runs is decided by fixed rules before training, never by timing
inside a run, because different products differ in their last bits.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from deeprl.agent import gradient
from deeprl.networks.blocks import Block
from deeprl.types import Learned

MODES = ("reference", "fast", "compiled")
WORTH_COMPILING = 200_000
"""Updates. Compiling takes some 20 s, and saves 0.2 ms an update where networks are smallest."""


SMALL_IMAGE = 32
"""Pixels of a side. On larger images convolutions decide, and these are quicker in the layout of `fast` (benchmarks.speed atari_loop)."""


def choose(updates: float, device: str, compiler: bool, obs_shape: Sequence[int]) -> str:
    """What `accelerate=auto` means for a run of so many updates."""
    if not device.startswith("cpu"):
        return "reference"
    large = len(obs_shape) == 3 and max(obs_shape[1:]) > SMALL_IMAGE
    return "compiled" if compiler and updates >= WORTH_COMPILING and not large else "fast"


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


TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>


def keep_memory(limit: int = 256 << 20) -> bool:
    """Let glibc keep up to `limit` freed bytes instead of returning them to the system after every update.

    Activations of an update are a few megabytes, freed at its end and wanted again at once; getting them back costs a page fault per
    4 KB, up to a quarter of a TD3 update at 256x256. Call it once, at the start of a process that trains. Blocks above 32 MB (replays)
    are not kept.

    Returns:
        Whether the C library took it; false where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((TRIM_THRESHOLD, limit), (MMAP_THRESHOLD, 32 << 20), (TOP_PAD, limit // 4))
    taken = [bool(mallopt(option, value)) for option, value in settings]
    return all(taken)


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
    return Cpu(vendor, True if tiles is None else bool(tiles()))  # unknown counts as AMX: the safe side


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
    options: dict | None = {"cpp_wrapper": True} if backend == "inductor" else None
    return torch.compile(call, fullgraph=True, backend=backend, options=options)


class CompiledGradient:
    """In place of `deeprl.agent.gradient`: one compiled pure gradient for each objective, compiled when first asked for. It is the gradient
    of the optimizer's `flats`: every tensor that goes in or out of a compiled function costs a microsecond or two, in guards and as an
    object, which with a pair for each parameter made a tenth of a small network's update.

    What is not trained, targets and statistics included, is constant to it but read anew at each call.

    Args:
        failed: called with the error if an objective cannot be compiled; from then on gradients are computed as without a compiler. None
            raises it.
    """

    def __init__(self, agent: nn.Module, backend: str = "inductor", failed: Callable[[Exception], None] | None = None):
        self.names = {id(parameter): name for name, parameter in agent.named_parameters()}
        self.backend, self.failed = backend, failed
        self.compiled: dict[str, Callable] = {}

    def __call__(self, agent, name: str, batch) -> tuple[Sequence[torch.Tensor], Learned]:
        if self.failed is None or name in self.compiled:
            return self._call(agent, name, batch)
        try:
            return self._call(agent, name, batch)
        except Exception as error:  # a broken compiler shows itself in many ways; an error of the agent's own comes again below
            self.failed(error)
            agent.gradient = gradient
            return gradient(agent, name, batch)

    def _call(self, agent, name: str, batch) -> tuple[Sequence[torch.Tensor], Learned]:
        objective = agent.objectives[name]
        compiled = self.compiled.get(name)
        if compiled is None:
            shapes = [(self.names[id(parameter)], parameter.shape) for parameter in objective.optimizer.parameters]

            def loss(flats, batch):
                value, learned = torch.func.functional_call(agent, views(flats, shapes), (name, batch))
                return value, (learned.error, learned.metrics)

            compiled = compile_gradient(loss, has_aux=True, backend=self.backend)
        with torch.no_grad():
            gradients, (_, (error, metrics)) = compiled(objective.optimizer.flats, batch)
        self.compiled[name] = compiled
        return gradients, Learned(error, metrics)


def views(flats: Sequence[torch.Tensor], shapes: Sequence[tuple[str, torch.Size]]) -> dict[str, torch.Tensor]:
    """Named parameters from the flat tensors that hold them, in order; none lies in two."""
    found, left = {}, list(shapes)
    for flat in flats:
        mine: list[tuple[str, torch.Size]] = []
        while sum(shape.numel() for _, shape in mine) < flat.numel():
            mine.append(left.pop(0))
        # The gradient of a split is one concatenation; that of slices would be a full vector of zeros for each.
        for (name, shape), part in zip(mine, flat.split([shape.numel() for _, shape in mine])):
            found[name] = part.view(shape)
    return found


def has_compiler() -> bool:
    """Whether a C++ compiler is on the path: inductor needs one on the CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))
