"""The machine and this process on it: software, processor, memory. /proc and /sys are read in this file only.

torch is imported inside functions, because commands that only read run folders start a second earlier without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from deeprl.system.own_code import own_code
from deeprl.system.strict_json import JsonObject
from deeprl.system.terminal import brief

PACKAGES = ("deeprl", "torch", "numpy", "gymnasium", "ale-py", "mujoco", "minatar", "hydra-core", "omegaconf", "safetensors", "tensorboard")
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>


def extra(name: str) -> str:
    """The command that installs what an extra of deeprl needs. It names the packages, because no index has a distribution of the name
    deeprl that is ours, and who installed a wheel has no checkout."""
    requirements: list[str] = []
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        requirements = importlib.metadata.requires("deeprl") or []
    wanted = [text.partition(";")[0].strip() for text in requirements if text.replace("'", '"').endswith(f'extra == "{name}"')]
    return " ".join(["pip install", *(f'"{text}"' for text in wanted)]) if wanted else f'pip install -e ".[{name}]" in its checkout'


def lacking(packages: Iterable[str]) -> list[str]:
    """Those that are not installed, by their names in Python."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


# ---- what system.json records


def system_entry(device: str = "cpu") -> JsonObject:
    """Command, software and hardware of this process. The GPU's name is read only if `device` is a GPU, because that takes GPU memory."""
    import torch

    cuda = str(device).startswith("cuda") and torch.cuda.is_available()
    return {
        "time": now(),
        "command": brief(shlex.join(sys.argv), 10_000),
        "folder": os.getcwd(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "git": own_commit(),
        "code": own_code(),
        "packages": dict(versions()),
        "platform": platform.platform(),
        "cpu": this_cpu().model,
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(torch.device(device)) if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
    }


@cache
def versions() -> dict[str, str]:
    """Of Python and of packages. They are asked once a process, because what is installed later is not what was imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def now() -> str:
    """Local time with its offset, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


SOURCES = ("deeprl*", "agents", "envs", "configs", "train.py")
"""What a run executes or composes, as git's patterns; extensions that stand beside deeprl have its name in front of theirs"""


def commit(folder: Path) -> JsonObject | None:
    """Commit of the checkout in `folder`, and whether its `SOURCES` differ from it. None if `folder` itself is not a checkout, because
    git would then describe a repository around it, such as a user's own project in which deeprl is installed."""

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    if not (folder / ".git").exists():
        return None
    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "--", *SOURCES))}
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def own_commit() -> JsonObject | None:
    """`commit` of the checkout from which deeprl was imported. It is asked once a process, because later commits do not change its code."""
    return commit(Path(__file__).resolve().parents[2])


# ---- processor


def kernel_table(path: str | Path) -> dict[str, str]:
    """Names and values in a kernel file with lines `name: value` or `name value`. If a name is repeated, its first value counts. A missing
    file gives an empty table."""
    table: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(":" if ":" in line else " ")
            table.setdefault(name.strip(), value.strip())
    return table


class Cpu(NamedTuple):
    vendor: str
    amx: bool
    """Whether it has AMX tiles. With them the float32 product "medium" computes in bfloat16."""
    model: str = ""


@cache
def this_cpu() -> Cpu:
    import torch

    table, known = kernel_table("/proc/cpuinfo"), platform.processor()
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    amx = tiles is None or bool(tiles())  # true if unknown, so that "medium" is avoided
    return Cpu(table.get("vendor_id", known), amx, table.get("model name") or known or platform.machine())


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity, or of the quotas of its control groups if that is less; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in control_groups():
        with contextlib.suppress(OSError, ValueError):  # there is no such group, or its quota is "max"
            quota, period = (group / "cpu.max").read_text().split()
            cores = min(cores, int(quota) // int(period))
    return max(cores, 1)


def control_groups(controller: str = "") -> list[Path]:
    """Folders of the control group of this process and of the groups around it, each of which limits it; the root comes last. In a
    container the root is often its own group, and the only folder that exists.

    Args:
        controller: of version 1; "" is version 2.
    """
    own = PurePosixPath("/")
    with contextlib.suppress(OSError):
        for line in OWN_GROUPS.read_text().splitlines():  # "0::/user.slice", and in version 1 "4:cpu,memory:/slurm/job_7"
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                own = PurePosixPath(path)
    return [GROUPS / controller / str(each).lstrip("/") for each in (own, *own.parents) if ".." not in each.parts]


def gpu_driver() -> str | None:
    """Version of NVIDIA's driver; None without one."""
    words = kernel_table("/proc/driver/nvidia/version").get("NVRM version", "").split()
    return next((word for word in words if word[0].isdigit() and "." in word), None)


def flush_denormals() -> bool:
    """Replace denormal numbers (below 1.2e-38) by zero in this thread and threads that it starts. Call it before torch first uses several
    threads, in every process that trains, evaluates or runs environments, because all of them must round alike.

    If a gradient stays zero (a dead unit, a pixel that is always dark), Adam's averages of it shrink to denormal numbers and stay there,
    because the smallest of them times 0.9 rounds to itself. Some processors are much slower with such numbers.

    Returns:
        Whether the processor supports it.
    """
    import torch

    warnings.filterwarnings("ignore", "The value of the smallest subnormal", UserWarning)  # NumPy 1 tells whoever asks for a type's limits
    return torch.set_flush_denormal(True)


def waited_for_cores() -> float | None:
    """Seconds for which threads of this process were ready and waited for a core, summed over the threads that exist now; None where the
    system does not tell."""
    waited = 0
    try:
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/self/task/{task}/schedstat") as file:
                waited += int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return waited / 1e9 if waited else None


# ---- memory


def keep_memory(limit: int = 256 << 20) -> bool:
    """Let glibc keep up to `limit` freed bytes instead of returning them to the system after every update.

    An update frees a few megabytes of activations at its end, and the next one allocates them again. Each 4 KB returned in between costs a
    page fault, together up to a quarter of the time of a TD3 update at 256x256. Call it once, at the start of a process that trains.
    Blocks above 32 MB (replays) are not kept.

    Returns:
        Whether the C library accepted all settings; false if it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((TRIM_THRESHOLD, limit), (MMAP_THRESHOLD, 32 << 20), (TOP_PAD, limit // 4))
    taken = [bool(mallopt(option, value)) for option, value in settings]  # a list, because a refusal must not skip the rest
    return all(taken)


def freeze_objects() -> None:
    """Exempt all objects that exist now from garbage collection, because they stay and every later collection would visit them."""
    gc.collect()
    gc.freeze()


def thaw_objects() -> None:
    """The end of `freeze_objects`."""
    gc.unfreeze()


def resident_memory(pid: int) -> int | None:
    """Resident size of another process in bytes; None where it is not known. Pages that processes share count in each."""
    try:
        return 1024 * int(kernel_table(f"/proc/{pid}/status")["VmRSS"].split()[0])
    except (KeyError, ValueError):
        return None


def available_memory(device: object = "cpu") -> int | None:
    """Bytes that this process can still allocate: of the machine, or of its control groups if that is less; None where neither is known. Of
    a GPU, those that are free on it."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(torch.device(str(device)))[0]
    known = []
    try:
        known.append(1024 * int(kernel_table("/proc/meminfo")["MemAvailable"].split()[0]))
    except (KeyError, ValueError):
        with contextlib.suppress(ValueError, OSError, AttributeError):
            known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))  # macOS: all memory, used or not
    for controller, most, used, reclaimed in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for group in control_groups(controller):
            with contextlib.suppress(OSError, ValueError, KeyError):  # there is no such group, or its limit is "max"
                reclaimable = int(kernel_table(group / "memory.stat")[reclaimed])  # by the kernel, when memory runs short
                known.append(int((group / most).read_text()) - int((group / used).read_text()) + reclaimable)
    return min(known) if known else None
