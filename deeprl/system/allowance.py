"""A limit on the tensors that a block of code creates, checked before their memory is allocated."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)


class Allowance(TorchFunctionMode):
    """`with Allowance(limit):` limits the tensors created from a shape to `limit` bytes in total. Freed tensors count too.

    Raises:
        MemoryError: the next tensor would exceed the limit. It is not created.
    """

    def __init__(self, limit: int):
        super().__init__()
        self.limit, self.left = limit, limit

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.left -= size(func, args, kwargs or {})
        if self.left < 0:
            raise MemoryError(f"it needs more than {self.limit:,} bytes")
        return func(*args, **(kwargs or {}))


def size(func: Callable, args: tuple, kwargs: dict[str, Any]) -> int:
    """Bytes of the tensor that a call creates from a shape; 0 for every other call."""
    width = (kwargs.get("dtype") or torch.float32).itemsize
    if func is torch.linspace:
        return int(kwargs.get("steps", args[-1])) * width
    if func not in FACTORIES:
        return 0
    shape = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else args)
    return prod(shape) * width
