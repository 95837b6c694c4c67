"""Data sets of Minari (https://minari.farama.org), which may be a stranger's: where they lie, and what their metadata say. `minari_rows`
reads their episodes; Minari itself writes them.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from deeprl.system.files import own_folder, read_regular
from deeprl.system.strict_json import JsonObject, strict_json
from deeprl.system.terminal import one_line
from deeprl.types import Spec

METADATA_LIMIT = 1 << 24
"""Bytes of metadata.json, which has the bounds of each number of an observation"""
DEEPEST = 16
"""Levels of a space within spaces"""
SHOWN = 100
"""Characters of a stranger's text that are printed"""


class DataSet(NamedTuple):
    folder: Path
    metadata: JsonObject
    observation_space: JsonObject
    action_space: JsonObject

    @property
    def name(self) -> str:
        return shown(self.metadata.get("dataset_id", self.folder.name))

    @property
    def spec(self) -> Spec:
        """Of environments with these spaces, whose parts are one vector.

        Raises:
            ValueError: their actions are neither Discrete nor a Box with bounds.
        """
        kind, seen = self.action_space.get("type"), self.observed
        if kind == "Discrete":
            return Spec(*seen, whole(self.action_space, "n"), 0)
        low, high = bounds(self.action_space)
        if kind != "Box" or not np.isfinite([low, high]).all() or (low >= high).any():
            raise ValueError(f"its actions are {shown(kind)}, and only Discrete and Box with bounds are read")
        return Spec(*seen, 0, low.size)

    @property
    def observed(self) -> tuple[tuple[int, ...], torch.dtype]:
        """Shape and type of an observation: of an image with the channels first, which are last where that axis alone is as short as 4."""
        if not is_image(self.observation_space):
            return (size_of(self.observation_space),), torch.float32
        *sides, last = shape = shape_of(self.observation_space)
        if len(shape) == 2:
            return (1, *shape), torch.uint8
        return (last, *sides) if last <= 4 < sides[0] else shape, torch.uint8


def root() -> Path:
    """The folder of data sets that are named `minari:NAME`."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def folder_of(data: str) -> Path:
    """The folder of a data set, given as a folder or as minari:NAME."""
    if data.startswith("minari:"):
        return root() / data.removeprefix("minari:")
    return Path(data).expanduser()


def is_data_set(data: str) -> bool:
    return data.startswith("minari:") or os.path.lexists(folder_of(data) / "data" / "metadata.json")


def shown(value: Any) -> str:
    """A value of the metadata in a message: its beginning, printable."""
    return one_line((value if isinstance(value, str) else reprlib.repr(value))[:SHOWN])[:SHOWN]


def described(data: str) -> DataSet:
    """What the metadata of a data set say.

    Raises:
        ValueError: there is none, or it is damaged, or of another form.
        OSError: its folder or file is a link, or cannot be read.
    """
    folder = folder_of(data)
    found = parsed(folder, own_folder(folder / "data") / "metadata.json")
    if found.metadata.get("data_format", "hdf5") != "hdf5":
        raise ValueError(f"its data_format is {shown(found.metadata['data_format'])}: make it again with data_format='hdf5'")
    return found


def parsed(folder: Path, path: Path) -> DataSet:
    """A data set whose metadata are in the file `path`. Errors are those of `described`."""
    try:
        metadata = strict_json(read_regular(path, METADATA_LIMIT))
        spaces = [json.loads(metadata[f"{name}_space"]) for name in ("observation", "action")]
        for space in spaces:
            require_levels(space)
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no data set of Minari") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error or type(error).__name__}") from error
    return DataSet(folder, metadata, *spaces)


# ---- spaces, as Minari writes them in JSON


def whole(space: JsonObject, key: str, least: int = 1) -> int:
    value = space.get(key)
    if type(value) is not int or not least <= value < 1 << 31:
        raise ValueError(f"a space has {key}={shown(value)}")
    return value


def shape_of(space: JsonObject) -> tuple[int, ...]:
    shape = space.get("shape")
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(size) is int and 0 < size < 1 << 20 for size in shape):
        raise ValueError(f"a space has shape={shown(shape)}")
    return tuple(shape)


def bounds(space: JsonObject) -> tuple[np.ndarray, np.ndarray]:
    """(D,) float32 of a Box."""
    try:
        low, high = (np.asarray(space.get(key), np.float32).reshape(-1) for key in ("low", "high"))
    except (TypeError, OverflowError) as error:
        raise ValueError(f"a Box has bounds that are no numbers: {error}") from error
    size = math.prod(shape_of(space))
    if low.size != size or high.size != size:
        raise ValueError(f"a Box of {size} numbers has {low.size} and {high.size} bounds")
    return low, high


def parts_of(space: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Names of the parts of a Dict or a Tuple in a file, in the order in which Gymnasium flattens them."""
    parts = space.get("subspaces")
    pairs: Iterable[tuple[str, Any]] = (
        parts.items() if isinstance(parts, dict) else ((f"_index_{i}", part) for i, part in enumerate(parts or ()))
    )
    for name, part in pairs:
        if not isinstance(part, dict) or len(name) > SHOWN:
            raise ValueError(f"its part {shown(name)} is no space, or has too long a name")
        yield name, part


def require_levels(space: JsonObject) -> None:
    """
    Raises:
        ValueError: it holds spaces within spaces more than `DEEPEST` levels deep.
    """
    level = [space]
    for _ in range(DEEPEST):
        level = [part for each in level for _, part in parts_of(each)]
        if not level:
            return
    raise ValueError(f"its spaces have more than {DEEPEST} levels")


def size_of(space: JsonObject) -> int:
    """Numbers of a flattened observation.

    Raises:
        ValueError: it has parts without a fixed number of numbers.
    """
    kind = space.get("type")
    if kind == "Box":
        return math.prod(shape_of(space))
    if kind == "Discrete":
        return whole(space, "n")
    if kind == "MultiBinary":
        return whole(space, "n")
    if kind in ("Dict", "Tuple"):
        return sum(size_of(part) for _, part in parts_of(space))
    raise ValueError(f"its observations have a part {shown(kind)}, which is not read")


def is_image(space: JsonObject) -> bool:
    return space.get("type") == "Box" and space.get("dtype") == "uint8" and len(shape_of(space)) in (2, 3)


def numbers(path: str, stored: np.ndarray, space: JsonObject) -> np.ndarray:
    """(rows,) int64 from 0, of a Discrete."""
    if stored.size != len(stored) or stored.dtype.kind not in "iu":
        raise ValueError(f"{path} are {stored.dtype} of shape {stored.shape}, not whole numbers")
    number, n = stored.reshape(-1).astype(np.int64) - whole({"start": 0, **space}, "start", -(1 << 31)), whole(space, "n")
    if not ((number >= 0) & (number < n)).all():
        raise ValueError(f"{path} has a number outside of its {n}")
    return number
