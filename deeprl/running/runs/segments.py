"""Segments: replay rows that are written once and shared by the checkpoints that list them.

A segment is a dict of tensors. The rows of environment e have the running numbers from start[e] up to, but not including, stop[e]; "start"
and "stop" have the shape (M,). Every other tensor has one entry for each row: first all rows of environment 0, then all of environment 1,
and so on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.system.strict_json import JsonObject


def still_needed(entry: JsonObject, live_from: list[int]) -> bool:
    """Whether the ring still holds a row of a segment.

    Args:
        entry: the manifest's entry of the segment.
        live_from: for each environment, the number of the oldest row in the ring.
    """
    return any(stop > live for stop, live in zip(entry["stop"], live_from, strict=True))


def size(segment: dict[str, Tensor]) -> int:
    """Bytes of all tensors of a segment."""
    return sum(tensor.numel() * tensor.element_size() for tensor in segment.values())


def follows(new: dict[str, Tensor], old: JsonObject) -> bool:
    """Whether the rows of `new` begin where the rows of `old`, a segment or its entry in a manifest, end."""
    return new["start"].tolist() == torch.as_tensor(old["stop"]).tolist()


def joined(old: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
    """One segment with the rows of `old` and of `new`, which must follow `old`."""
    counts = [(part["stop"] - part["start"]).tolist() for part in (old, new)]

    def woven(name: str) -> Tensor:
        pieces = zip(old[name].split(counts[0]), new[name].split(counts[1]))
        return torch.cat([piece for pair in pieces for piece in pair])

    return {name: woven(name) for name in new if name not in ("start", "stop")} | {"start": old["start"], "stop": new["stop"]}
