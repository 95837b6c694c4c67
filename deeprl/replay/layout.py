"""Columns and sizes of stored transitions: what a row of a ring is made of (`deeprl.replay.ring`), known before its memory is allocated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deeprl.packing import NUMBER, numbers_of
from deeprl.types import Spec


class Piece(NamedTuple):
    """Successive numbers of an observation: an image that is a stack of frames, of which a row holds the newest; or what is stored whole,
    as a stack of one."""

    name: str
    """Of the part that says how many frames it has; "" without one"""
    width: int
    """Numbers of a frame"""
    stack: int


@dataclass(frozen=True)
class Layout:
    """Sizes and columns of the storage, from which its memory follows before it is allocated."""

    num: int
    """M environments"""
    ticks: int
    """Live transitions of each environment, at most"""
    stack: int
    """Frames in an observation, of its largest stack; 1 if observations are stored whole"""
    image: bool
    """True: observations are uint8 in a separate matrix. False: they are the first columns of a row"""
    size: int
    """Numbers in a stored observation, the newest frames alone"""
    actions: int
    """Discrete actions; 0 if they are continuous"""
    front: int
    """Rows before slot 0, copies of the last slots: the older frames of its observation"""
    back: int
    """Rows after the last slot, copies of the first ones: what a window reaches ahead"""
    period: int
    """Slots of an environment: its ticks, the frames before the oldest, the row at the cursor, one extra row"""
    stride: int
    """Slots and copies of an environment"""
    action: int
    """First column of the action. This field and the next ones are columns, in float32, where counts and flags are exact"""
    reward: int
    continues: int
    """1 - terminated"""
    ended: int
    probability: int
    age: int
    """Frames of the same episode before this one, at most `front`"""
    real: int
    """1 if the row is a transition; 0 on an extra row and on the one at the cursor"""
    state: int
    """First column of the core's state before the row; `width` if states are not stored"""
    width: int
    pieces: tuple[Piece, ...]
    """Of an observation, in their order"""

    def frame(self, obs: np.ndarray, back: int = 0) -> np.ndarray:
        """The newest frames of observations, (..., numbers) -> (..., size), or those `back` rows earlier, which are zeros where a piece has
        none."""
        if len(self.pieces) == 1 and not back:
            return obs[..., -self.size :]
        found, end = [], 0
        for _, width, stack in self.pieces:
            end += width * stack
            stop = end - back * width
            found.append(obs[..., stop - width : stop] if back < stack else np.zeros((*obs.shape[:-1], width), obs.dtype))
        return found[0] if len(found) == 1 else np.concatenate(found, -1)

    def unstacked(self, before: np.ndarray, after: np.ndarray) -> Piece | None:
        """A piece whose older frames in the observations `after` (..., numbers) are not the newer ones of those `before`; None if there is
        none. Zeros come before an episode."""
        end = 0
        for piece in self.pieces:
            start, end = end, end + piece.width * piece.stack
            if piece.stack > 1 and not np.array_equal(after[..., start : end - piece.width], before[..., start + piece.width : end]):
                return piece
        return None

    def observed(self, frames: Tensor) -> Tensor:
        """Observations (B, numbers) of windows (B, stack, size) of stored ones; a view, if there is one piece."""
        if len(self.pieces) == 1:
            return frames.flatten(1)
        found, start = [], 0
        for _, width, stack in self.pieces:
            found.append(frames[:, self.stack - stack :, start : start + width].flatten(1))
            start += width
        return torch.cat(found, 1)

    @property
    def columns(self) -> list[int]:
        """What a row is made of: numbers of an observation, numbers of an action, discrete actions, numbers of a core's state; and the
        frames of an observation. Rows of other kinds may be as wide."""
        return [self.size, self.reward - self.action, self.actions, self.width - self.state, self.stack]

    @property
    def memory(self) -> int:
        """Memory of the full storage in bytes, with the table of slots."""
        return self.num * (self.stride * (4 * self.width + (self.size if self.image else 0)) + 8 * self.ticks)


def layout(spec: Spec, capacity: int, num: int, reach: int, state: int = 0) -> Layout:
    """Layout of a storage.

    Args:
        capacity: rows of all environments together.
        num: M environments.
        reach: rows that a window reaches ahead, n of n-step returns or more.
        state: S, numbers of a core's state that are stored with each row.

    Raises:
        ValueError: the capacity is less than `reach` rows for each environment.
    """
    ticks = capacity // num
    if ticks < reach:
        raise ValueError(f"capacity must be at least {reach} rows for each environment ({reach} * {num}), not {capacity}")
    image = spec.obs_dtype == torch.uint8
    pieces = pieces_of(spec)
    stack, size = max(piece.stack for piece in pieces), sum(piece.width for piece in pieces)
    front = stack - 1
    period = ticks + front + 2
    action = 0 if image else size
    reward = action + max(spec.action_dim, 1)
    stride = front + period + reach
    sizes = num, ticks, stack, image, size, spec.num_actions, front, reach, period, stride
    columns = reward + 1, reward + 2, reward + 3, reward + 4, reward + 5, reward + 6, reward + 6 + state
    return Layout(*sizes, action, reward, *columns, pieces)


def pieces_of(spec: Spec) -> tuple[Piece, ...]:
    """Pieces of an observation. Neighbours that are stored whole are one."""
    if not any(part.frame_stack > 1 for part in spec.parts):
        return (stacked("", spec.obs_shape, spec.frame_stack if spec.obs_dtype == torch.uint8 else 1),)
    images = [stacked(part.name, part.shape, part.frame_stack) for part in spec.parts if part.dtype == torch.uint8]
    columns = [Piece("", NUMBER * numbers_of(spec.parts), 1), *images, Piece("", spec.mask_size * spec.masked, 1)]
    found: list[Piece] = []
    for piece in columns:
        if found and found[-1].stack == piece.stack == 1:
            found[-1] = found[-1]._replace(width=found[-1].width + piece.width)
        else:
            found.append(piece)
    return tuple(piece for piece in found if piece.width)


def stacked(name: str, shape: tuple[int, ...], stack: int) -> Piece:
    """The piece of an image (C, H, W), in frames if its channels are whole ones, else as it is."""
    stack = stack if len(shape) == 3 and shape[0] % stack == 0 else 1
    return Piece(name, math.prod(shape) // stack, stack)
