"""What this process runs on: memory, processor, versions, commit. /proc and /sys are read here and nowhere else."""

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
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("deeprl", "torch", "numpy", "gymnasium", "ale-py", "mujoco", "minatar", "hydra-core", "omegaconf", "safetensors", "tensorboard")


def system_entry(device: str = "cpu") -> dict[str, Any]:
    """What this process runs on. The GPU is only asked for if it is used: asking costs memory on it."""
    import torch  # a second, which commands that only look at folders need not spend

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
        "git": _git(Path(__file__).resolve().parents[2]),
        "packages": versions,
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(torch.device(device)) if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
    }


def _git(folder: Path) -> dict[str, Any] | None:
    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def now() -> str:
    """Local time with its offset, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


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


def flush_denormals() -> bool:
    """Let this thread, and those it starts, take numbers below 1.2e-38 for zero. Call it before torch first uses several threads, in every
    process that trains, evaluates or runs environments: all of them must round alike.

    Adam's averages of a gradient that stays zero (a dead unit, a pixel that is never lit) shrink to such numbers and stay there, since the
    smallest one times 0.9 rounds to itself. Some processors take very much longer for arithmetic with them.

    Returns:
        Whether the processor can.
    """
    import torch

    return torch.set_flush_denormal(True)


class Cpu(NamedTuple):
    vendor: str
    amx: bool
    """Tiles that would make "medium" compute in bfloat16."""


@lru_cache(maxsize=1)
def this_cpu() -> Cpu:
    import torch

    vendor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        vendor = next(line.split(":")[1].strip() for line in lines if line.startswith("vendor_id"))
    except (OSError, StopIteration):
        pass
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return Cpu(vendor, True if tiles is None else bool(tiles()))  # unknown counts as AMX: the safe side


def settle_memory() -> None:
    """What is there by now stays: the collector need not look through all of it again and again."""
    gc.collect()
    gc.freeze()


def peak_memory() -> int:
    """Bytes: the largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _entry(file: Path, name: str) -> int:
    """The number in the line `name 123` of a file of the kernel's."""
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(f"no {name} in {file}")


def available_memory() -> int | None:
    """Bytes that this process can still take: of the machine, or of its control group if that is less. None where neither is known."""
    known = []
    try:
        known.append(1024 * _entry(Path("/proc/meminfo"), "MemAvailable:"))
    except (OSError, ValueError):
        try:
            known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))  # macOS: all there is, used or not
        except (ValueError, OSError, AttributeError):
            pass
    for folder, most, used in (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            group = Path("/sys/fs/cgroup", folder)
            cache = _entry(group / "memory.stat", "inactive_file")  # given back when somebody asks for it
            known.append(int((group / most).read_text()) - int((group / used).read_text()) + cache)
        except (OSError, ValueError):  # no such group, or its limit reads "max"
            pass
    return min(known) if known else None
