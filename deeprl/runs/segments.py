"""Segments: replay rows that are written once and shared by the checkpoints that list them.

A segment holds "start" and "stop" (M,), running numbers of rows for each environment, and other tensors that have one entry for each row,
those of environment 0 from start[0] up to, but not including, stop[0], then those of environment 1, and so on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def alive(entry: dict[str, Any], live_from: list[int]) -> bool:
    """Whether the ring still holds a row of the segment of a manifest's entry."""
    return any(stop > live for stop, live in zip(entry["stop"], live_from, strict=True))


def size(segment: dict[str, Tensor]) -> int:
    """Bytes of its tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in segment.values())


def follows(new: dict[str, Tensor], old: dict[str, Any]) -> bool:
    """Whether the rows of `new` begin where those of an older segment, or of its entry, end."""
    return new["start"].tolist() == torch.as_tensor(old["stop"]).tolist()


def joined(old: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
    """Two segments as one, of which the second follows the first."""
    counts = [(part["stop"] - part["start"]).tolist() for part in (old, new)]

    def woven(name: str) -> Tensor:
        pieces = zip(old[name].split(counts[0]), new[name].split(counts[1]))
        return torch.cat([piece for pair in pieces for piece in pair])

    return {name: woven(name) for name in new if name not in ("start", "stop")} | {"start": old["start"], "stop": new["stop"]}
