"""A nested state as JSON and tensors, and back, bit for bit and without pickle.

A value that JSON lacks becomes an object whose only key starts with a dollar sign:

    {"$tensor": name}   {"$array": [name, dtype]}   {"$scalar": [name, dtype]}   {"$tuple": [...]}   {"$float": "nan"}
    {"$dict": [[key, value], ...]}      if a key is not a string, or starts with a dollar sign
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


def pack(value: object, where: str) -> tuple[Any, dict[str, Tensor]]:
    """JSON and tensors of `value`. The name of a tensor is its path in `value`.

    Raises:
        TypeError: an object is not a dict, list, tuple, str, int, float, bool, None, tensor or array; the message names its path.
    """
    tensors: dict[str, Tensor] = {}

    def keep(tensor: Tensor, path: tuple[str, ...]) -> str:
        name = "/".join(path) or "value"
        while name in tensors or name == "__metadata__":  # taken (keys 0 and "0" have one path), or reserved by safetensors
            name += "'"
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        tensors[name] = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).contiguous()
        return name

    def walk(value: object, path: tuple[str, ...]) -> Any:
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
                raise refusal(value, path)
            return {"$tensor": keep(value, path) if not value.is_complex() else [keep(value, path), name_of(value.dtype)]}
        if isinstance(value, (np.ndarray, np.generic)):  # before float, because np.float64 is a subclass
            if value.dtype.kind not in "biufc" or value.dtype.itemsize > (16 if value.dtype.kind == "c" else 8):
                raise refusal(value, path)
            native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
            return {"$array" if isinstance(value, np.ndarray) else "$scalar": [keep(torch.from_numpy(native), path), value.dtype.str]}
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": repr(float(value))}
        if isinstance(value, (list, tuple)):
            items = [walk(item, (*path, str(i))) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, dict):
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {str(key): walk(item, (*path, key)) for key, item in value.items()}
            for key in value:
                if not isinstance(key, (str, int, float, bool, type(None), tuple)):
                    raise refusal(key, path)
            return {"$dict": [[walk(key, (*path, "key")), walk(item, (*path, str(key)))] for key, item in value.items()]}
        raise refusal(value, path)

    def refusal(value: object, path: tuple[str, ...]) -> TypeError:
        return TypeError(
            f"a checkpoint cannot hold {'/'.join((where, *path))}, which is {type(value).__module__}.{type(value).__qualname__}: "
            f"let its state_dict() return dicts, lists, tuples, numbers, strings, dense tensors and arrays"
        )

    return walk(value, ()), tensors


def unpack(packed: object, tensors: dict[str, Tensor]) -> Any:
    """The value that `pack` was given. `packed` must name every tensor exactly once, so that no tensor is shared or left over.

    Raises:
        ValueError: `packed` and `tensors` do not belong together, or were not written by `pack`.
    """
    left = dict(tensors)

    def take(name: object) -> Tensor:
        if not isinstance(name, str) or name not in left:
            raise ValueError(f"the tensor {name!r} is missing, or named twice")
        return left.pop(name)

    def array(name: str, code: str) -> np.ndarray:
        stored, dtype = take(name), np.dtype(code)
        if dtype.kind == "c":
            stored = torch.view_as_complex(stored)
        found = stored.numpy()
        if dtype.kind not in "biufc" or found.dtype != dtype.newbyteorder("="):
            raise ValueError(f"{name!r} should have the dtype {code!r}, but has {found.dtype}")
        return found.astype(dtype, copy=False)

    def walk(value: object) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        kind = next(iter(value), "")
        if not kind.startswith("$"):
            return {key: walk(item) for key, item in value.items()}
        if len(value) != 1:
            raise ValueError(f"{kind} must be the only key of its object")
        content = value[kind]
        if kind == "$tensor" and isinstance(content, str):
            return take(content)
        if kind == "$tensor":
            name, code = content
            found = torch.view_as_complex(take(name))
            if name_of(found.dtype) != code:
                raise ValueError(f"{name!r} should have the dtype {code!r}, but has {found.dtype}")
            return found
        if kind == "$array":
            return array(*content)
        if kind == "$scalar":
            return array(*content)[()]
        if kind == "$float" and content in ("nan", "inf", "-inf"):
            return float(content)
        if kind == "$tuple":
            return tuple(walk(item) for item in content)
        if kind == "$dict":
            return {walk(key): walk(item) for key, item in content}
        raise ValueError(f"{kind} is unknown")

    try:
        found = walk(packed)
    except (TypeError, RuntimeError, RecursionError) as error:
        raise ValueError(f"it was not written by this program: {error}") from None
    if left:
        raise ValueError(f"the tensor {next(iter(left))!r} is not named in the state")
    return found


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
