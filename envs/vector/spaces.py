"""Conversion of Gymnasium's spaces to the form of agents and replays: observations are float32 vectors or uint8 images with channels first,
actions are integers from 0 or vectors in [-1, 1]. Any other space raises an error that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces

from deeprl.types import Spec


class Actions(NamedTuple):
    """Conversion of an agent's action into the environment's own form."""

    num: int
    """Discrete actions; 0 if continuous."""
    start: int = 0
    """The environment's first discrete action."""
    low: np.ndarray | None = None
    """(D,) bounds of a continuous action"""
    high: np.ndarray | None = None
    shape: tuple[int, ...] = ()
    """Shape of one continuous action in the environment's own form; its product is D."""

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """(M,) int64 or (M, D) float in [-1, 1], clipped -> (M,) int64 or (M, *shape) in the environment's own type."""
        if self.num:
            action = np.asarray(action, dtype=np.int64)
            return action + self.start if self.start else action
        assert self.low is not None
        assert self.high is not None
        unit = np.minimum(np.maximum(np.asarray(action, dtype=np.float32), -1.0), 1.0)
        # written around the centre so that bounds of ±1 leave every action as it is, bit for bit
        scaled = (self.high + self.low) / 2 + (self.high - self.low) / 2 * unit
        return np.minimum(np.maximum(scaled, self.low), self.high).reshape(len(unit), *self.shape)


OWN = "Gymnasium has no wrapper for this: write one of your own and name it in env.wrappers,"


def actions_of(space: spaces.Space) -> Actions:
    """Raises ValueError for a space other than Discrete and bounded floating-point Box."""
    if isinstance(space, spaces.Discrete):
        return Actions(num=int(space.n), start=int(space.start))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ValueError(
                f"the action space {space} has no bounds, so that actions in [-1, 1] cannot be scaled to it. "
                f"{OWN} a gymnasium.ActionWrapper whose action space has bounds."
            )
        return Actions(num=0, low=space.low.reshape(-1), high=space.high.reshape(-1), shape=space.shape)
    raise ValueError(f"the action space {space} is not supported, only Discrete and Box of floats. {OWN} a gymnasium.ActionWrapper.")


Convert = Callable[[object], np.ndarray]


NUMPY: dict[torch.dtype, np.dtype] = {torch.float32: np.dtype(np.float32), torch.uint8: np.dtype(np.uint8)}


def fault_of(obs: np.ndarray, spec: Spec) -> str:
    """Description of a faulty observation: its type, its shape, or a number that is not finite. Empty without a fault."""
    dtype = NUMPY[spec.obs_dtype]
    if obs.dtype != dtype or obs.shape != spec.obs_shape:
        return f"observation is {obs.dtype} of shape {obs.shape}, not {dtype} of shape {spec.obs_shape}"
    if dtype.kind != "f" or np.isfinite(obs).all():
        return ""
    index = tuple(np.argwhere(~np.isfinite(obs))[0].tolist())
    return f"observation holds {obs[index]} at index {', '.join(map(str, index))}"


def channels_of(space: spaces.Space) -> str | None:
    """Where the channels of an image are, if just one of its three axes has at most four entries: "first" or "last"."""
    if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.uint8:
        return None
    few = [axis for axis, size in enumerate(space.shape) if size <= 4]
    return {0: "first", 2: "last"}.get(few[0]) if len(few) == 1 else None


def observations_of(space: spaces.Space, channels: str | None = None) -> tuple[tuple[int, ...], torch.dtype, Convert]:
    """Shape, dtype and conversion of one observation; the conversion raises ValueError on a wrong shape or type. NaN and Inf pass,
    because `fault_of` finds them for all families alike.

    Args:
        channels: axis of an image that holds its channels, "first" or "last".
    """
    if isinstance(space, spaces.Discrete):
        return (int(space.n),), torch.float32, _one_hot(int(space.n), int(space.start))
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return space.shape, torch.float32, _vector(space.shape)
    if isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8:
        if channels is None:
            raise ValueError(f"the observation space {space} holds images: set env.channels to first or last, where their channels are")
        shape = space.shape if channels == "first" else (space.shape[2], *space.shape[:2])
        return shape, torch.uint8, _image(space.shape, channels)
    raise ValueError(
        f"the observation space {space} is not supported, only Discrete, Box of rank 1 and images (uint8, rank 3): "
        "env.wrappers=gymnasium.wrappers.FlattenObservation makes a vector of Dict, Tuple, MultiDiscrete and Box"
    )


AS_IT_IS = "as the environment gives it"


def described(space: spaces.Space, channels: str | None = None) -> str:
    """What the conversion of `observations_of` makes of the environment's own observations, for those who use a policy elsewhere."""
    if isinstance(space, spaces.Discrete):
        return f"one-hot: component i is 1 where the environment's observation is {int(space.start)} + i"
    if len(space.shape or ()) == 3:
        return AS_IT_IS if channels == "first" else "the environment's image with the channels first: transpose(2, 0, 1)"
    return AS_IT_IS if space.dtype == np.float32 else f"the environment's {space.dtype} numbers as float32"


def _one_hot(n: int, start: int) -> Convert:
    def convert(obs):
        index = int(obs) - start
        if not 0 <= index < n:
            raise ValueError(f"observation {obs!r} is not one of the {n} from {start}")
        row = np.zeros(n, np.float32)
        row[index] = 1.0
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


def _image(shape: tuple[int, ...], channels: str) -> Convert:
    def convert(obs):
        image = np.asarray(obs)
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"observation is {image.dtype} of shape {image.shape}, not uint8 of shape {shape}")
        return image if channels == "first" else np.ascontiguousarray(image.transpose(2, 0, 1))

    return convert
