"""Data sets of Minari (https://minari.farama.org) as stored transitions. Its files are read here, and may be a stranger's; they are written
by Minari itself.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from deeprl.packing import pack
from deeprl.replay.layout import Layout, layout
from deeprl.running.collect.hdf5 import Reader, require_room
from deeprl.system.files import JsonObject, opened, own_folder, read_regular, strict_json
from deeprl.system.terminal import one_line
from deeprl.types import Spec

METADATA_LIMIT = 1 << 24
"""Bytes of metadata.json, which has the bounds of each number of an observation"""
DEEPEST = 16
"""Levels of a space within spaces"""
SHOWN = 100
"""Characters of a stranger's text that are printed"""


class RecordedEpisode(NamedTuple):
    """One episode of T steps, as Minari has it."""

    observations: np.ndarray
    """(T + 1, obs) float32, flattened; of images, and of parts with one, (T + 1, bytes) uint8"""
    actions: np.ndarray
    """(T,) int64 from 0, or (T, D) float32 in the environment's own units"""
    rewards: np.ndarray
    """(T,) float32"""
    terminated: bool
    truncated: bool


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
    path = own_folder(folder / "data") / "metadata.json"
    try:
        metadata = strict_json(read_regular(path, METADATA_LIMIT))
        spaces = [json.loads(metadata[f"{name}_space"]) for name in ("observation", "action")]
        for space in spaces:
            require_levels(space)
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no data set of Minari") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error or type(error).__name__}") from error
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise ValueError(f"its data_format is {shown(metadata['data_format'])}: make it again with data_format='hdf5'")
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


# ---- the file


Observed = Callable[[Reader, int], np.ndarray]
"""The observations of an episode, (rows, numbers) float32 or (rows, bytes) uint8"""


def episodes(found: DataSet, observed: Observed, size: int) -> Iterator[RecordedEpisode]:
    """All episodes of a data set, in their order.

    Args:
        observed: reads their observations, of `size` bytes each.

    Raises:
        ValueError: h5py is missing, or the file is damaged, refused, or does not fit its metadata.
        OSError: it is a link, or cannot be read.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError("reading a data set needs h5py: pip install 'deeprl[minari]'") from error
    number, spec = whole(found.metadata, "total_episodes"), found.spec
    path = found.folder / "data" / "main_data.hdf5"
    with opened(path) as handle:
        try:
            with h5py.File(handle, "r") as file:
                for index in range(number):
                    yield episode(Reader(file, h5py, f"episode_{index}"), found, spec, observed, size)
        except (KeyError, RuntimeError, TypeError, AttributeError, OSError) as error:  # what h5py raises for damaged content
            raise ValueError(f"{path} is damaged: {error or type(error).__name__}") from error


def episode(read: Reader, found: DataSet, spec: Spec, observed: Observed, size: int) -> RecordedEpisode:
    rewards = read("rewards", None)
    steps = len(rewards)
    flags = [read(name, steps) for name in ("terminations", "truncations")]
    if rewards.ndim != 1 or any(each.shape != (steps,) or not np.isin(each, (0, 1)).all() for each in flags):
        shapes = [each.shape for each in (rewards, *flags)]
        raise ValueError(f"{read.path} has rewards, terminations and truncations of shapes {shapes}, or other flags than 0 and 1")
    ends = (flags[0] + flags[1]) > 0
    if ends[:-1].any():
        raise ValueError(f"{read.path} ends at its step {int(ends.argmax())}, and goes on to {steps}")
    require_room(f"{read.path}/observations", size * (steps + 1))  # a number of n is n numbers
    given = actions(read, found, spec, steps)
    return RecordedEpisode(observed(read, steps + 1), given, rewards.astype(np.float32), bool(flags[0][-1]), bool(flags[1][-1]))


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


def numbers(path: str, stored: np.ndarray, space: JsonObject) -> np.ndarray:
    """(rows,) int64 from 0, of a Discrete."""
    if stored.size != len(stored) or stored.dtype.kind not in "iu":
        raise ValueError(f"{path} are {stored.dtype} of shape {stored.shape}, not whole numbers")
    number, n = stored.reshape(-1).astype(np.int64) - whole({"start": 0, **space}, "start", -(1 << 31)), whole(space, "n")
    if not ((number >= 0) & (number < n)).all():
        raise ValueError(f"{path} has a number outside of its {n}")
    return number


def actions(read: Reader, found: DataSet, spec: Spec, steps: int) -> np.ndarray:
    stored, space = read("actions", steps), found.action_space
    if spec.num_actions:
        return numbers(f"{read.path}/actions", stored, space)
    if stored.size != steps * spec.action_dim:
        raise ValueError(f"{read.path}/actions have shape {stored.shape}, not ({steps}, {spec.action_dim})")
    given, (low, high) = stored.reshape(steps, -1).astype(np.float32), bounds(space)
    slack = 1e-4 * (high - low)
    if not ((given >= low - slack) & (given <= high + slack)).all():
        raise ValueError(f"{read.path}/actions leave the bounds of their space")
    return given


# ---- images and parts


def is_image(space: JsonObject) -> bool:
    return space.get("type") == "Box" and space.get("dtype") == "uint8" and len(shape_of(space)) in (2, 3)


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


def newest(images: np.ndarray, at: Layout) -> np.ndarray:
    """The newest frames of each row of an episode, (rows, numbers) -> (rows, size).

    Raises:
        ValueError: an older frame is not that of the row before, or one before the episode is not of zeros.
    """
    if at.unstacked(np.concatenate([np.zeros_like(images[:1]), images[:-1]]), images):
        raise ValueError(f"its images are no stacks of the {at.stack} last frames, with zeros before an episode, as this run has them")
    return at.frame(images)


# ---- as rows of a replay


def as_replay(found: DataSet, spec: Spec) -> tuple[JsonObject, dict[str, torch.Tensor]]:
    """State and rows of a ring of one environment, as `deeprl.replay.ring.Ring` loads them.

    Args:
        spec: of the environments of the run.

    Raises:
        ValueError: the data are not of this environment.
    """
    at, rows, images, steps, held = layout(spec, 1, 1, 1), [], [], 0, 0
    for each in episodes(found, observed_by(found, spec), math.prod(spec.obs_shape) * spec.obs_dtype.itemsize):
        count = len(each.rewards)
        block = np.zeros((count + 1, at.width), np.float32)
        if at.image:
            images.append(newest(each.observations, at))
            held += images[-1].nbytes
        else:
            block[:, : at.size] = each.observations
        block[:, at.age] = np.minimum(np.arange(count + 1), at.front)
        block[:count, at.action : at.reward] = unit(each.actions, found) if spec.action_dim else each.actions[:, None]
        block[:count, at.reward] = each.rewards
        block[:count, [at.continues, at.probability, at.real]] = 1.0
        block[count - 1, at.continues], block[count - 1, at.ended] = not each.terminated, 1.0
        rows.append(block)
        steps, held = steps + count, held + block.nbytes
        require_room(found.name, held)
    stored = np.concatenate(rows)
    state = {
        "ticks": [0, steps], "count": np.array([len(stored)]), "oldest": np.array([0]), "fresh": np.array([True]),
        "pending": np.zeros((1, at.width), np.float32),
    }  # fmt: skip
    segment = {"rows": stored, "start": np.array([0]), "stop": np.array([len(stored)])}
    if at.image:
        segment["frames"], state["pending_frames"] = np.concatenate(images), np.zeros((1, at.size), np.uint8)
    return state, {name: torch.from_numpy(array) for name, array in segment.items()}


def of_actions(spec: Spec) -> str:
    return f"{spec.num_actions} actions" if spec.num_actions else f"actions ({spec.action_dim},)"


def unit(given: np.ndarray, found: DataSet) -> np.ndarray:
    """Actions (T, D) within their bounds -> in [-1, 1], the inverse of `deeprl.envs.vector.actions.Actions.to_env`."""
    low, high = bounds(found.action_space)
    return np.clip((given - (high + low) / 2) / ((high - low) / 2), -1.0, 1.0)
