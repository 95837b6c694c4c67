"""Observations of a data set of Minari as those of a run: vectors, images, and parts by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from deeprl.packing import pack
from deeprl.running.collect.hdf5 import Reader
from deeprl.running.collect.minari import DataSet, bounds, is_image, numbers, parts_of, shape_of, shown, size_of, whole
from deeprl.system.strict_json import JsonObject
from deeprl.types import Spec

Observed = Callable[[Reader, int], np.ndarray]
"""The observations of an episode, (rows, numbers) float32 or (rows, bytes) uint8"""


def observed_by(found: DataSet, spec: Spec) -> Observed:
    """What reads observations as those of a run.

    Raises:
        ValueError: they are others.
    """
    space, own = found.observation_space, found.spec
    if spec.parts and not spec.masked:
        fits = own[2:4] == spec[2:4]
    elif is_image(space):
        fits = own[1:4] == spec[1:4] and axes_of(shape_of(space), spec.obs_shape) is not None
    else:
        fits = own[:4] == spec[:4] and not spec.parts
    if not fits:
        raise ValueError(f"{found.name} is of observations {own.obs_shape} and {of_actions(own)}, and this run has "
                         f"{spec.obs_shape} and {of_actions(spec)}: not the same environment")  # fmt: skip
    if spec.parts:
        return lambda read, rows: in_parts(read, found, spec, rows)
    if is_image(space):
        return lambda read, rows: pixels(read, "observations", found, space, spec.obs_shape, rows)
    return lambda read, rows: flattened(read, "observations", space, rows)


def of_actions(spec: Spec) -> str:
    return f"{spec.num_actions} actions" if spec.num_actions else f"actions ({spec.action_dim},)"


def flattened(read: Reader, name: str, space: JsonObject, rows: int) -> np.ndarray:
    """(rows, size) float32, as `gymnasium.spaces.flatten` joins the parts."""
    kind = space["type"]
    if kind in ("Dict", "Tuple"):
        return np.concatenate([flattened(read.below(name), part, inner, rows) for part, inner in parts_of(space)], 1)
    found = read(name, rows)
    if kind == "Discrete":
        one_hot = np.zeros((rows, whole(space, "n")), np.float32)
        one_hot[np.arange(rows), numbers(f"{read.path}/{name}", found, space)] = 1.0
        return one_hot
    if found.size != rows * size_of(space):
        raise ValueError(f"{read.path}/{name} has shape {found.shape}, which its space does not")
    return found.reshape(rows, -1).astype(np.float32)


def is_compressed(found: DataSet, space: JsonObject) -> bool:
    """Whether Minari has compressed these images, and others than were seen come back."""
    if not is_image(space) or not found.metadata.get("jpeg_encoding", True) or min(shape_of(space)[:2]) < 32:
        return False
    low, high = bounds(space)
    return bool((low == 0).all() and (high == 255).all())


def axes_of(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """Order of the axes of a stored image in which it is one of shape (C, H, W); None: it is another image.

    Raises:
        ValueError: its channels may be the first and the last.
    """
    if len(shape) == 2:
        return (0, 1) if wanted == (1, *shape) else None
    found = [axes for axes in ((0, 1, 2), (2, 0, 1)) if tuple(shape[axis] for axis in axes) == wanted]
    if len(found) == 2:
        raise ValueError(f"nothing says whether the channels of its images {shape} are first or last: make it again with other sizes")
    return found[0] if found else None


def pixels(read: Reader, name: str, found: DataSet, space: JsonObject, wanted: tuple[int, ...], rows: int) -> np.ndarray:
    """(rows, C · H · W) uint8, with the channels first.

    Args:
        wanted: (C, H, W).
    """
    if is_compressed(found, space):
        raise ValueError(f"{read.path}/{name} are images that are compressed with a loss (JPEG): make it again with jpeg_encoding=False")
    axes = axes_of(shape_of(space), wanted) if is_image(space) else None
    if axes is None:
        raise ValueError(f"{read.path}/{name} has observations {shown(space.get('shape'))}, and this run has {wanted}")
    stored = read(name, rows)
    if stored.dtype != np.uint8 or stored.shape[1:] != shape_of(space):
        raise ValueError(f"{read.path}/{name} is {stored.dtype} of shape {stored.shape}, which its space is not")
    return stored.transpose(0, *(1 + axis for axis in axes)).reshape(rows, -1)


def leaves(read: Reader, name: str, space: JsonObject, called: str = "") -> Iterator[tuple[str, tuple[Reader, str, JsonObject]]]:
    """Name of each part as `env.parts` has it, and where it is in the file."""
    if space.get("type") not in ("Dict", "Tuple"):
        yield called, (read, name, space)
        return
    for part, inner in parts_of(space):
        own = part.removeprefix("_index_") if space["type"] == "Tuple" else part
        yield from leaves(read.below(name), part, inner, f"{called}.{own}" if called else own)


def in_parts(read: Reader, found: DataSet, spec: Spec, rows: int) -> np.ndarray:
    """Packed rows of the parts of a run, by their names."""
    places = dict(leaves(read, "observations", found.observation_space))
    if {*places} != {part.name for part in spec.parts}:
        theirs, own = (", ".join(sorted(map(shown, names))) for names in (places, [part.name for part in spec.parts]))
        raise ValueError(f"its observations have the parts {theirs or 'of one vector'}, and those of this run {own}: take data with these "
                         "parts, or env.parts=flat")  # fmt: skip
    values = []
    for part in spec.parts:
        where, name, inner = places[part.name]
        if part.dtype == torch.uint8:
            value = pixels(where, name, found, inner, part.shape, rows)
        elif part.image or size_of(inner) != part.size:
            floats = ", an image of floats, which is not read" * part.image
            raise ValueError(f"its part {shown(part.name)} is {shown(inner)}, and that of this run has shape {part.shape}{floats}")
        else:
            value = flattened(where, name, inner, rows)
        values.append(value.reshape(rows, *part.shape))
    return pack(spec, values)
