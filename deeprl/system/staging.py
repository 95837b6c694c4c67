"""Copies to a device for which the host does not wait: the tensors of one call go through one block of pinned memory.

A copy from ordinary memory waits until the device has done everything that was queued before it. A copy from pinned memory does not, but
that memory must stay as it is until the copy is done: hence two blocks, which take turns, each with an event.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes to which each tensor in a block is aligned, as the vector instructions of a device need"""


class Staging:
    """Copies of tensors to one device. Every call must have tensors of the shapes and types of the first one.

    Args:
        device: where they go.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.starts = [0]
        """First byte of each tensor in a block, and the end"""
        self.blocks: list[Tensor] = []
        self.views: list[list[Tensor]] = []
        self.events: list[torch.cuda.Event] = []
        self.turn = 0

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors on the device, in memory of their own."""
        if not self.blocks:
            self._allocate(tensors)
        turn = self.turn
        self.turn = 1 - turn
        self.events[turn].synchronize()  # the copy of two calls ago is done; at once if there was none
        for into, tensor in zip(self.views[turn], tensors):
            into.copy_(tensor)
        there = self.blocks[turn].to(self.device, non_blocking=True)
        self.events[turn].record(torch.cuda.current_stream(self.device))  # the current device may be another GPU
        return self._views(there, tensors)

    def _allocate(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            size = tensor.numel() * tensor.element_size()
            self.starts.append(self.starts[-1] + -(-size // ALIGNMENT) * ALIGNMENT)
        self.blocks = [torch.empty(self.starts[-1], dtype=torch.uint8, device="cpu").pin_memory() for _ in range(2)]
        self.views = [self._views(block, tensors) for block in self.blocks]
        self.events = [torch.cuda.Event() for _ in self.blocks]

    def _views(self, block: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
        parts = [block[start : start + t.numel() * t.element_size()] for start, t in zip(self.starts, like)]
        return [part.view(t.dtype).view(t.shape) for part, t in zip(parts, like)]
