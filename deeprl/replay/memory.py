"""Memory that rows need on the machine or on its GPU, asked before it is taken."""

from __future__ import annotations

import torch

from deeprl.system.machine import available_memory

HOST = torch.device("cpu")
SPARED = 1 << 30
"""Bytes of a GPU that are left to networks and their gradients"""


def too_little(needed: int, device: torch.device) -> int | None:
    """Bytes that rows may take on a device, if they need more; None if they fit, or nothing is known. A GPU keeps `SPARED` free beside
    them, or as much as they take, if that is less."""
    available = available_memory(device)
    if available is None:
        return None
    available -= min(SPARED, needed) if device.type == "cuda" else 0
    return max(available, 0) if needed > available else None


def refuse_if_too_large(key: str | None, count: int, needed: int, fixed: int = 0, device: torch.device = HOST, state: int = 0) -> None:
    """
    Args:
        key: of `replay`, the number of rows; None: they are those of stored data.
        count: their number.
        needed: bytes of all rows.
        fixed: bytes of them that are the same with each number of rows.
        device: where they lie.
        state: bytes of each row that hold the state of an agent's core.

    Raises:
        ValueError: it has less memory.
    """
    if (available := too_little(needed, device)) is not None:
        each = (needed - fixed) / count
        possible = max(int((available - fixed - (64 << 20)) / each), 0)
        core = f". {state:,} bytes of each row are the state of agent/core: replay.start=zero stores none" if 2 * state > each else ""
        what = "the replay of the data" if key is None else f"{key}={count}"
        remedy = f"take data of at most {possible:,} rows, not {count:,}" if key is None else f"replay.{key}={possible} would fit"
        raise ValueError(
            f"{what} needs {needed:,} bytes ({each:,.0f} a row), and {available:,} are available{of_gpu(device)}: {remedy}{core}"
        )


def of_gpu(device: torch.device) -> str:
    return f" on {device} beside those of networks" if device.type == "cuda" else ""
