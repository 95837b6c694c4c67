"""The place of this process among those that torchrun started. No part of `deeprl.system.ranks`, because it needs no torch."""

from __future__ import annotations

import os


def place() -> tuple[int, int]:
    """Number of this process, from 0, and of all processes; (0, 0) without torchrun."""
    number, size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    return (int(number), int(size)) if number.isdecimal() and size.isdecimal() else (0, 0)
