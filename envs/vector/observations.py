"""Observations of Gymnasium's spaces in the form of agents and replays: float32 vectors, or images with channels first, of uint8 or
float32. Spaces of several parts become a vector. Any other space raises an error that names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces

from deeprl.packing import numbers_in
from deeprl.types import SMALL_IMAGE, ObsPart, Spec

LARGEST_FLAT = 10_000
"""Numbers of a flattened observation, at most"""
Convert = Callable[[object], np.ndarray]
NUMPY: dict[torch.dtype, np.dtype] = {torch.float32: np.dtype(np.float32), torch.uint8: np.dtype(np.uint8)}


def brief(space: spaces.Space) -> str:
    """A space in at most 80 letters, because Text names every letter it allows, and Dict every part."""
    text = re.sub(r", charset=\w+", "", str(space))
    return text if len(text) <= 80 else f"{text[:79]}…"


def fault_of(obs: object, spec: Spec) -> str:
    """Description of a faulty observation: its type, its shape, or a number that is not finite. Empty without a fault."""
    dtype = NUMPY[spec.obs_dtype]
    if not isinstance(obs, np.ndarray):
        return f"observation is {type(obs).__name__} {obs!r:.100}, not a NumPy array of {dtype} of shape {spec.obs_shape}"
    if obs.dtype != dtype or obs.shape != spec.obs_shape:
        return f"observation is {obs.dtype} of shape {obs.shape}, not {dtype} of shape {spec.obs_shape}"
    if dtype.kind != "f":
        if not spec.parts:
            return ""
        obs = numbers_in(spec.parts, obs)
    if b"\0" not in np.isfinite(obs).tobytes():  # a third of the time that `all` takes
        return ""
    index = tuple(np.argwhere(~np.isfinite(obs))[0].tolist())
    return f"observation holds {obs[index]} at index {', '.join(map(str, index))}"


def fault_of_shown(obs: np.ndarray, spec: Spec) -> str:
    """As `fault_of`, of an observation in which an action will be chosen: its mask has a valid one."""
    if (fault := fault_of(obs, spec)) or not spec.masked:
        return fault
    mask = obs[-spec.mask_size :]
    parts = np.split(mask, np.cumsum(spec.choices)[:-1]) if spec.choices else [mask]
    return "" if all(part.any() for part in parts) else "action mask has no valid action, and the episode goes on"


class Observations(NamedTuple):
    """Form in which agents see the observations of a space."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    convert: Convert
    """From one observation of the environment; raises ValueError on a wrong shape or type. NaN and Inf pass, because `fault_of` finds them
    for all families alike."""
    content: str
    """What `convert` makes of the environment's own observations, for those who use a policy elsewhere"""
    note: str = ""
    """What was chosen without being asked for, as a sentence"""
    parts: tuple[ObsPart, ...] = ()
    """Parts of a row, see `Spec.parts`"""


AS_IT_IS = "as the environment gives it"


def _floats(space: spaces.Box) -> str:
    return AS_IT_IS if space.dtype == np.float32 else f"the environment's {space.dtype} numbers as float32"


class Frames(spaces.Box):
    """The space of an image of bytes, in a Dict or Tuple, that is a stack of the newest frames of an episode, oldest first, with zeros
    before its start. A replay stores each frame once, and refuses a part that is another one.

    Args:
        shape: of the stack; its channels are those of all frames.
        frame_stack: frames.

    Raises:
        ValueError: `shape` has not three axes, or no axis of whole frames.
    """

    def __init__(self, shape: tuple[int, ...], frame_stack: int, low: int = 0, high: int = 255):
        super().__init__(low, high, shape, np.uint8)
        self.frame_stack = frame_stack
        if len(shape) != 3 or frame_stack < 1 or (shape[0] % frame_stack and shape[2] % frame_stack):
            raise ValueError(f"{frame_stack} frames must divide the channels of an image of three axes, not of shape {shape}")


def channels_of(space: spaces.Space) -> str | None:
    """Where the channels of an image are, if just one of its three axes has at most four entries: "first" or "last"."""
    if not isinstance(space, spaces.Box) or len(space.shape) != 3 or not (space.dtype == np.uint8 or space.dtype.kind == "f"):
        return None
    few = [axis for axis, size in enumerate(space.shape) if size <= 4]
    return {0: "first", 2: "last"}.get(few[0]) if len(few) == 1 else None


def observations_of(space: spaces.Space, channels: str | None = None) -> Observations:
    """
    Args:
        channels: axis of an image that holds its channels, "first" or "last"; None: where it can only be one of both, see `channels_of`.

    Raises:
        ValueError: no vector and no image can be made of the space.
    """
    if isinstance(space, spaces.Discrete):
        content = f"one-hot: component i is 1 where the environment's observation is {int(space.start)} + i"
        return Observations((int(space.n),), torch.float32, _one_hot(int(space.n), int(space.start)), content)
    if isinstance(space, (spaces.Dict, spaces.Tuple)) and len(space) == 1:
        return _only(space, channels)
    if isinstance(space, spaces.Box):
        rank, pixels = len(space.shape), space.dtype == np.uint8
        if rank == 1:
            return Observations(space.shape, torch.float32, _vector(space.shape), _floats(space))
        if rank == 2 and pixels:
            content = "the environment's image with an axis of one channel: image[None]"
            return Observations((1, *space.shape), torch.uint8, _image(space.shape, None), content, unscaled(space, space.shape))
        if rank == 3 and (pixels or space.dtype.kind == "f"):
            return _images(space, channels)
    return flattened(space)


def _images(space: spaces.Box, channels: str | None) -> Observations:
    note = ""
    if channels is None:
        if (channels := channels_of(space)) is None:
            raise ValueError(f"the observation space {space} holds images: set env.channels to first or last, where their channels are")
        note = f"env.channels={channels} is taken for observations of shape {space.shape}"
    shape = space.shape if channels == "first" else (space.shape[2], *space.shape[:2])
    changes = [] if channels == "first" else ["with the channels first: transpose(2, 0, 1)"]
    if space.dtype == np.uint8:
        convert, dtype = _image(space.shape, channels), torch.uint8
    else:
        bounded, convert = _float_image(space, channels)
        dtype = torch.float32
        if bounded:
            changes.insert(0, "mapped from the bounds of its space to [0, 1]: (image - low) / (high - low)")
    as_it_is = AS_IT_IS if space.dtype == np.uint8 else _floats(space)
    content = f"the environment's image {', '.join(changes)}" if changes else as_it_is
    return Observations(shape, dtype, convert, content, ". ".join(filter(None, (note, unscaled(space, shape[1:])))))


def unscaled(space: spaces.Box, size: tuple[int, ...]) -> str:
    """What is said of bytes above 1 that a network for planes of zeros and ones would take as they are; "" of other images."""
    if space.dtype != np.uint8 or max(size) > SMALL_IMAGE or space.high.max() <= 1:
        return ""
    return (
        f"an image of up to {SMALL_IMAGE} pixels has bytes up to {space.high.max()}, which agent/torso=auto and minatar do not scale: "
        f"let the environment give image / {space.high.max()} as float32, with a Box from 0 to 1"
    )


def _only(space: spaces.Dict | spaces.Tuple, channels: str | None) -> Observations:
    """The only part of a space, which is what gymnasium.wrappers.FilterObservation can leave."""
    ((key, inner),) = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
    part = observations_of(inner, channels)

    def convert(obs):
        try:
            return part.convert(obs[key])
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"observation {obs!r:.100} has no part {key!r}") from error

    return part._replace(convert=convert, content=f"its only part {key!r}: {part.content}")


FILTER = "a gymnasium.ObservationWrapper, or gymnasium.wrappers.FilterObservation, which keeps the parts in filter_keys"


def flattened(space: spaces.Space) -> Observations:
    """The vector of `gymnasium.spaces.flatten`."""
    if wrong := unfit(space):
        part = wrong if wrong == brief(space) else f"{brief(space)}: its part {wrong}"
        raise ValueError(
            f"the observation space {part} is not supported, because no vector of numbers can be made of it. Leave it out by a wrapper: "
            f"{FILTER}"
        )
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)  # of all parts that `unfit` lets pass
    if flat.shape[0] > LARGEST_FLAT:
        raise ValueError(
            f"the observation space {brief(space)} has {flat.shape[0]:,} numbers, and a flattened observation at most {LARGEST_FLAT:,}. "
            f"Keep its parts apart, env.parts=apart, or choose one by a wrapper: {FILTER}"
        )
    join = _joined(space)

    def convert(obs):
        try:
            return join(obs)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"observation {obs!r:.100} is not one of its space: {type(error).__name__}: {error}") from error

    note = f"observations of {type(space).__name__} are flattened to vectors of {flat.shape[0]} numbers"
    content = f"gymnasium.spaces.flatten of the environment's {type(space).__name__}, as float32"
    return Observations(flat.shape, torch.float32, convert, content, note)


def _joined(space: Any) -> Convert:
    """The numbers of `gymnasium.spaces.flatten`, checked. Gymnasium casts to the types of the space, so that numbers of an integer part
    would lose their fractions, NaN would be finite, and a class -1 would be the last one."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = [(key, _joined(part)) for key, part in (space.items() if isinstance(space, spaces.Dict) else enumerate(space))]

        def convert(obs):
            return np.concatenate([np.zeros(0, np.float32), *(part(obs[key]) for key, part in parts)])

        return convert
    if isinstance(space, spaces.Discrete):
        return _one_hot(int(space.n), int(space.start))
    check = _vector(space.shape)
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hots(space, check)
    return lambda obs: check(obs).reshape(-1)


def unfit(space: spaces.Space, path: str = "") -> str:
    """Path and space of the first part that is no array of fixed size; empty if all are."""
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)):
        return ""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        return next(filter(None, (unfit(part, f"{path}[{key!r}]") for key, part in parts)), "")
    return f"{path} {brief(space)}".strip()


def _one_hot(n: int, start: int) -> Convert:
    def convert(obs):
        index = int(obs) - start
        if not 0 <= index < n:
            raise ValueError(f"observation {obs!r} is not one of the {n} from {start}")
        row = np.zeros(n, np.float32)
        row[index] = 1.0
        return row

    return convert


def _one_hots(space: spaces.MultiDiscrete, check: Convert) -> Convert:
    sizes, start = space.nvec.reshape(-1), space.start.reshape(-1)
    ends = np.cumsum(sizes)

    def convert(obs):
        index = check(obs).reshape(-1).astype(np.int64) - start
        if ((index < 0) | (index >= sizes)).any():
            raise ValueError(f"observation {obs!r:.100} is not one of {space}")
        row = np.zeros(ends[-1], np.float32)
        row[ends - sizes + index] = 1.0
        return row

    return convert


def _vector(shape: tuple[int, ...]) -> Convert:
    def convert(obs):
        row = np.asarray(obs)
        if row.dtype == np.float32 and row.shape == shape:
            return row
        if row.dtype.kind not in "fiub":
            raise ValueError(f"observation is {row.dtype}, not numbers: {obs!r:.100}")
        row = row.astype(np.float32, copy=False)
        if row.shape != shape:
            raise ValueError(f"observation has shape {row.shape}, not the {shape} of its space")
        return row

    return convert


def _image(shape: tuple[int, ...], channels: str | None) -> Convert:
    """Images without channels, of rank 2, get one."""

    def convert(obs):
        image = np.asarray(obs)
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"observation is {image.dtype} of shape {image.shape}, not uint8 of shape {shape}")
        if channels is None:
            return image[None]
        return image if channels == "first" else np.ascontiguousarray(image.transpose(2, 0, 1))

    return convert


def _float_image(space: spaces.Box, channels: str) -> tuple[bool, Convert]:
    """Images of floats, mapped from their bounds to [0, 1] if these are finite, and whether they are."""
    low = space.low.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        width = space.high.astype(np.float32) - low
    bounded = bool(np.isfinite(low).all() and np.isfinite(width).all())
    width[width == 0] = 1.0

    def convert(obs):
        image = np.asarray(obs)
        if image.shape != space.shape or image.dtype.kind not in "fiub":
            raise ValueError(f"observation is {image.dtype} of shape {image.shape}, not floats of shape {space.shape}")
        image = image.astype(np.float32, copy=False)
        if bounded:
            image = (image - low) / width
        return image if channels == "first" else np.ascontiguousarray(image.transpose(2, 0, 1))

    return bounded, convert
