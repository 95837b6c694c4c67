"""The machine and this process on it: software, processor, memory. /proc and /sys are read in this file only.

torch is imported inside functions, because commands that only read run folders start a second earlier without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import platform
import resource
import shlex
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("deeprl", "torch", "numpy", "gymnasium", "ale-py", "mujoco", "minatar", "hydra-core", "omegaconf", "safetensors", "tensorboard")
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>

# ---- what system.json records


def system_entry(device: str = "cpu") -> dict[str, Any]:
    """Command, software and hardware of this process. The name of a GPU is read only if `device` is one, because that takes GPU memory."""
    import torch

    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    cuda = str(device).startswith("cuda") and torch.cuda.is_available()
    return {
        "time": now(),
        "command": shlex.join(sys.argv),
        "folder": os.getcwd(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "git": commit(Path(__file__).resolve().parents[2]),
        "packages": versions,
        "platform": platform.platform(),
        "cpu": this_cpu().model,
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(torch.device(device)) if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
    }


def now() -> str:
    """Local time with its offset, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def commit(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout in `folder`, and whether its files differ from it. None where `folder` itself is no checkout, because git
    would then answer for a repository around it: that of a user who installed deeprl inside his own project."""

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    if not (folder / ".git").exists():
        return None
    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


# ---- processor


def kernel_table(path: str | Path) -> dict[str, str]:
    """Lines `name: value` or `name value` of a file of the kernel. The first of two equal names counts; a missing file is empty."""
    table: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(":" if ":" in line else " ")
            table.setdefault(name.strip(), value.strip())
    return table


class Cpu(NamedTuple):
    vendor: str
    amx: bool
    """AMX tiles, with which the float32 product "medium" computes in bfloat16."""
    model: str = ""


@cache
def this_cpu() -> Cpu:
    import torch

    table, known = kernel_table("/proc/cpuinfo"), platform.processor()
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    amx = tiles is None or bool(tiles())  # unknown counts as AMX, because "medium" is then avoided
    return Cpu(table.get("vendor_id", known), amx, table.get("model name") or known or platform.machine())


def flush_denormals() -> bool:
    """Let this thread, and those it starts, replace numbers below 1.2e-38 by zero. Call it before torch first uses several threads, in
    every process that trains, evaluates or runs environments, because all of them must round alike.

    Adam's averages of a gradient that stays zero (a dead unit, a pixel that is always dark) shrink to such numbers and stay there, since
    the smallest one times 0.9 rounds to itself. Some processors compute with them very much more slowly.

    Returns:
        Whether the processor supports it.
    """
    import torch

    return torch.set_flush_denormal(True)


# ---- memory


def keep_memory(limit: int = 256 << 20) -> bool:
    """Let glibc keep up to `limit` freed bytes instead of returning them to the system after every update.

    Activations of an update are a few megabytes, freed at its end and allocated again in the next one; every 4 KB returned costs a page
    fault, up to a quarter of a TD3 update at 256x256. Call it once, at the start of a process that trains. Blocks above 32 MB (replays)
    are not kept.

    Returns:
        Whether the C library accepted it; false where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((TRIM_THRESHOLD, limit), (MMAP_THRESHOLD, 32 << 20), (TOP_PAD, limit // 4))
    taken = [bool(mallopt(option, value)) for option, value in settings]  # all of them, also after one is refused
    return all(taken)


def settle_memory() -> None:
    """Exempt all objects that exist now from garbage collection, because they stay and every later collection would visit them."""
    gc.collect()
    gc.freeze()


def peak_memory() -> int:
    """Bytes: the largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory() -> int | None:
    """Bytes that this process can still allocate: of the machine, or of its control group if that is less. None where neither is known."""
    known = []
    try:
        known.append(1024 * int(kernel_table("/proc/meminfo")["MemAvailable"].split()[0]))
    except (KeyError, ValueError):
        with contextlib.suppress(ValueError, OSError, AttributeError):
            known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))  # macOS: all memory, used or not
    for folder, most, used in (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes")):
        group = Path("/sys/fs/cgroup", folder)
        with contextlib.suppress(OSError, ValueError, KeyError):  # no such group, or its limit reads "max"
            reclaimable = int(kernel_table(group / "memory.stat")["inactive_file"])  # the kernel reclaims it when memory runs short
            known.append(int((group / most).read_text()) - int((group / used).read_text()) + reclaimable)
    return min(known) if known else None
