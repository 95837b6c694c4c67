"""Copy of a ring's rows in the memory of a device, so that a draw moves the numbers of its rows and not the rows.

The ring in main memory stays the storage: it counts, refuses, and is what a checkpoint reads. Rows that are new since the last draw follow
before the next one. Each transition crosses once, and not at every update that draws it; on Atari that is 7 KB for each step in place of
1.1 MB for each update of 32 transitions. The batch is gathered by the arithmetic of `Transitions.batch`, which a captured update contains.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deeprl.replay.layout import Layout
from deeprl.replay.memory import SPARED
from deeprl.replay.ring import Ring
from deeprl.system.machine import available_memory
from deeprl.system.staging import Staging

CHUNK = 1 << 23
"""Most bytes of rows that are sent at once"""


def fits(storage: str, batches: torch.device, needed: int) -> bool:
    """Whether a replay's rows go to the device.

    Args:
        storage: "auto", "cpu" or "cuda".
        batches: device of the batches.
        needed: bytes.

    Raises:
        ValueError: "cuda", and the device has too little memory, or the batches are not on it.
    """
    if storage == "cuda" and batches.type != "cuda":
        raise ValueError(f"device=cuda keeps the rows where batches are needed, and those are on {batches}: set device=cuda of the run too")
    if storage == "cpu" or batches.type == "cpu":
        return False
    free = available_memory(batches) or 0
    if storage == "cuda" and needed > free - SPARED:
        raise ValueError(
            f"device=cuda needs {needed:,} bytes, and {max(free - SPARED, 0):,} are free on {batches} beside {SPARED:,} for networks: "
            "make replay.capacity less, or take replay.device=cpu"
        )
    return needed <= free - SPARED


class DeviceMirror:
    """Rows, and frames if there are any, at the places that they have in the ring.

    Args:
        device: where the copy lies.
    """

    def __init__(self, ring: Ring, device: torch.device):
        self.ring = ring
        self.rows = torch.zeros(ring.rows.shape, device=device)
        self.frames = None if ring.frames is None else torch.zeros(ring.frames.shape, dtype=torch.uint8, device=device)
        self.known: list[int] | None = None
        """For each environment, the number of the first row that may have changed; None: nothing is known"""
        self.last = 0
        """The ring's last tick when the mirror followed"""
        self.stages: dict[int, Staging] = {}
        """By the number of rows that are sent, a power of two"""
        each = ring.rows[:1].nbytes + (0 if ring.frames is None else ring.frames[:1].nbytes)
        self.most = 1 << max(CHUNK // each, 1).bit_length() - 1

    def forget(self) -> None:
        """Send all rows again, because the ring was written elsewhere than at its cursors."""
        self.known = None

    def follow(self) -> None:
        """Send the rows that are new."""
        if self.known is not None and self.last == self.ring.last:
            return
        where = self.ring.changed(self.known)
        for start in range(0, len(where), self.most):
            self._send(where[start : start + self.most])
        # from the cursors, because their rows are complete one tick later
        self.known, self.last = self.ring.count.tolist(), self.ring.last

    def _send(self, where: np.ndarray) -> None:
        size = 1 << (len(where) - 1).bit_length()
        where = np.pad(where, (0, size - len(where)), mode="edge")  # the last row again and again, so that there are few sizes
        moving = [torch.from_numpy(array) for array in (where, self.ring.rows[where])]
        if self.ring.frames is not None:
            moving.append(torch.from_numpy(self.ring.frames[where]))
        if size not in self.stages:
            self.stages[size] = Staging(self.rows.device)
        place, rows, *frames = self.stages[size](moving)
        self.rows.index_copy_(0, place, rows)
        if self.frames is not None:
            self.frames.index_copy_(0, place, *frames)


def blanked(frames: Tensor, age: Tensor, at: Layout) -> Tensor:
    """Windows (B, k * size) of frames, zero before the start of the episode.

    Args:
        age: (B, 1) number of the episode's frames before frame `at.front` of a window.
    """
    images = frames.view(len(frames), -1, at.size)
    before = at.front - torch.arange(images.shape[1], device=frames.device)
    return torch.where((before <= age).unsqueeze(-1), images, 0).view(frames.shape)
