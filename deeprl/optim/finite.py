"""Whether the numbers of an update are finite, found without waiting for a device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deeprl.errors import NotFinite


class Watch:
    """One per learner, handed to the optimizers: `watch(norm)` stands before a step is applied.

    On a CPU reading a number costs next to nothing: the failing update is stopped before it changes anything. Elsewhere reading would wait
    for the device: NaN is carried along there, and `failed` is what fused optimizers take as `found_inf`, so that from the first number
    that is not finite on no update changes the weights. The trainer calls `look` now and then.

    Attributes:
        immediate: whether a number is read at once.
        failed: () float32 on the device, 0 or, for ever after, 1.
    """

    def __init__(self, device: torch.device, immediate: bool | None = None):
        self.immediate = device.type == "cpu" if immediate is None else immediate
        self.failed, self._sum = torch.zeros((), device=device), torch.zeros((), device=device)

    def __call__(self, number: Tensor, what: str) -> None:
        """
        Raises:
            NotFinite: it is not finite, and `immediate`.
        """
        if self.immediate:
            if not math.isfinite(number.item()):
                raise NotFinite(f"{what} is {number.item()}")
        else:
            self._sum.add_(number, alpha=0.0)  # 0 times NaN or Inf is NaN, and stays
            torch.ne(self._sum, self._sum, out=self.failed)

    def look(self) -> None:
        """
        Raises:
            NotFinite: some number since the start was not finite. Waits for the device.
        """
        if not self.immediate and self.failed.item():
            raise NotFinite("a loss or the norm of a gradient is not finite")


HOST = Watch(torch.device("cpu"))
"""Reads at once: it has no state."""
