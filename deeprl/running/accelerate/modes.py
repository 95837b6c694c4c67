"""Modes of computation with the same mathematics: layouts and the precision of products. Compiling is in
`deeprl.running.accelerate.compiled`.

`reference` is the oracle; `fast` agrees with it up to rounding. Fixed rules choose before training, never a timing inside a run, because
different products differ in their last bits.
"""

from __future__ import annotations

import torch
from torch import nn

from deeprl.learning.agent import Agent
from deeprl.learning.networks.convolutions import ImageBlock
from deeprl.running.runs.config_file import Config
from deeprl.system.machine import Cpu, this_cpu

MODES = ("reference", "fast", "compiled")
BFLOAT16 = "bfloat16"
PRODUCTS = ("highest", "high", "medium", BFLOAT16)
"""Words of `accelerate.matmul_precision`, most exact first. The first three are those of `torch.set_float32_matmul_precision`: float32,
TF32 (on CUDA), and on some processors bfloat16 inside of the product alone."""

WORTH_COMPILING = 50_000
"""Number of updates from which compiling pays: it takes seconds once and saves time at every update."""
WORTH_COMPILING_CALLS = 15_000
"""Number of ticks and updates from which it pays where rollouts are collected on the device, because acting and the world are compiled
too: each call saves more, and few make up for the compiler."""

MANY_ROWS = 1024
"""Rows of a batch from which oneDNN is faster for small layers too. `python -m benchmarks.speed.forms oneDNN`, a loop of PPO with batches
of 2,048 rows on a shared machine: 5.5 µs a step, with MKL 6.6; other measurements found savings of 8 % and of none"""
SMALL_IMAGE = 32
"""Largest side of a small image, in pixels. Larger images are stored channels-last, because their convolutions are then faster
(`benchmarks.speed atari_loop`)."""


def choose(updates: float, device: str, obstacle: str = "", ticks: int = 0) -> tuple[str, str]:
    """Mode that `accelerate=auto` takes for a run of `updates` updates, and the reason.

    Args:
        obstacle: why compiling is no choice.
        ticks: of rollouts that are collected on the device.
    """
    if not device.startswith("cpu"):
        return "reference", f"the device is {device}"
    what, least = ("ticks on the device and updates", WORTH_COMPILING_CALLS) if ticks else ("updates", WORTH_COMPILING)
    planned = f"{updates + ticks:,} {what} are planned"
    if updates + ticks < least:
        return "fast", f"{planned}, and compiling pays from {least:,} on"
    return ("fast", obstacle) if obstacle else ("compiled", f"{planned}, at least {least:,}")


def apply(agent: nn.Module, mode: str) -> None:
    """Set the form of the image blocks. `fast` stores images channels-last; `compiled` does so for large images and multiplies patches for
    small ones.

    Raises:
        ValueError: unknown mode. ("auto" is resolved by the caller with `choose`, because it depends on the number of updates.)
    """
    if mode not in MODES:
        raise ValueError(f"accelerate must be one of {', '.join(MODES)}, not {mode!r}")
    for block in agent.modules():
        if isinstance(block, ImageBlock) and not block.plain:
            small = max(block.shape[1:]) <= SMALL_IMAGE
            block.patches = mode == "compiled" and small
            block.channels_last = mode != "reference" and not block.patches


def compute_as(agent: nn.Module, config: Config) -> None:
    """Compute like the run of a configuration, whose mode and product are decided: forms of the image blocks, and on CUDA the precision of
    convolutions and whether kernels are deterministic. For commands that evaluate, export or repeat what the run did.

    Raises:
        ValueError: unknown mode.
    """
    apply(agent, form(config))
    if on_gpu(config):
        convolve_as(config)
        if config["runtime"]["deterministic"] != torch.are_deterministic_algorithms_enabled():  # the call imports the compiler
            torch.use_deterministic_algorithms(config["runtime"]["deterministic"])


def on_gpu(config: Config) -> bool:
    return str(config["device"]).startswith("cuda")


def form(config: Config) -> str:
    """The mode whose layouts are used: those of `compiled` suit the CPU's compiler."""
    mode = config["accelerate"]["mode"]
    return "reference" if mode == "compiled" and on_gpu(config) else mode


def convolve_as(config: Config) -> None:
    """TF32 in convolutions only where the run asks for it: torch allows it by default."""
    torch.backends.cudnn.allow_tf32 = config["accelerate"].get("matmul_precision", "highest") in ("high", "medium")


def set_products(agent: Agent, product: str) -> None:
    """Set the type in which the losses of an agent multiply.

    Raises:
        ValueError: unknown product. ("auto" is resolved by the caller with `product`.)
    """
    if product not in PRODUCTS:
        raise ValueError(f"accelerate.matmul_precision must be one of auto, {', '.join(PRODUCTS)}, not {product!r}")
    agent.products = torch.bfloat16 if product == BFLOAT16 else torch.float32


def product(n: int, widest: int, cpu: Cpu | None = None, rows: int = 1) -> str:
    """Float32 product of a learner on the CPU, an argument of `precision`.

    MKL, torch's default, falls back to AVX2 on AMD; "medium" sends products to oneDNN, which uses AVX-512 and stays in float32 as long as
    the processor has no AMX. oneDNN is faster for wide layers and for stacks, MKL for one or two small networks. Other processors use
    "highest". `python -m benchmarks.product` prints the table behind the rule.

    Args:
        n: stack size of the largest block.
        widest: width of its widest layer, inputs included.
        rows: of a batch, where it is known that they are many.
    """
    cpu = cpu or this_cpu()
    if cpu.vendor != "AuthenticAMD" or cpu.amx or not torch.backends.mkldnn.is_available():
        return "highest"
    return "medium" if widest >= 128 or n * widest >= 256 or rows >= MANY_ROWS else "highest"


class precision:
    """Context manager that sets the product of float32 tensors for a `with` block and restores the old one. Reusable.

    Args:
        choice: of `PRODUCTS`. With "bfloat16" the products that stay in float32, those of output layers, are exact.
    """

    __slots__ = ("choice", "word", "before")

    def __init__(self, choice: str):
        self.choice = choice
        self.word = self.before = "highest" if choice == BFLOAT16 else choice

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        if self.before != self.word:
            torch.set_float32_matmul_precision(self.word)

    def __exit__(self, *_) -> None:
        if self.before != self.word:
            torch.set_float32_matmul_precision(self.before)
