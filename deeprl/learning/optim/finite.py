"""Check that the numbers of an update are finite, without waiting for a device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deeprl.errors import NotFinite


class Watch:
    """Check of a learner's numbers: an optimizer calls `watch(norm)` before it changes a parameter.

    On a CPU the number is read at once, and a failing update is stopped before it changes anything. On another device reading would wait,
    so `failed` is set there instead. Fused optimizers take it as `found_inf`, so that no update changes the weights after the first number
    that is not finite. The trainer calls `check` periodically.

    Attributes:
        immediate: whether a number is read at once.
        failed: () float32 on the device, 0, and 1 from the first number that is not finite.
    """

    def __init__(self, device: torch.device, immediate: bool | None = None):
        self.immediate = device.type == "cpu" if immediate is None else immediate
        self.failed, self._sum = torch.zeros((), device=device), torch.zeros((), device=device)

    def __call__(self, number: Tensor, what: str) -> None:
        """
        Raises:
            NotFinite: the number is not finite, and `immediate` is true.
        """
        if self.immediate:
            if not math.isfinite(number.item()):
                raise NotFinite(f"{what} is {number.item()}")
        else:
            self._sum.add_(number, alpha=0.0)  # 0 times NaN or Inf is NaN, and stays
            torch.ne(self._sum, self._sum, out=self.failed)

    def store(self, into: Tensor, value: Tensor) -> None:
        """Copy a result of an update whose numbers were given to this watch; nothing is copied after one that was not finite."""
        into.copy_(value if self.immediate else torch.where(self.failed == 0, value, into))

    def check(self) -> None:
        """
        Raises:
            NotFinite: a number since the start was not finite. The call waits for the device.
        """
        if not self.immediate and self.failed.item():
            raise NotFinite("a loss or the norm of a gradient is not finite")


HOST = Watch(torch.device("cpu"))
"""Default watch of the optimizers: it reads at once and has no state."""


def finite(gradient: Tensor) -> Tensor:
    """The gradient itself, (P,).

    Raises:
        NotFinite: its norm is not finite.
    """
    HOST(torch.linalg.vector_norm(gradient), "the norm of its gradient")
    return gradient
