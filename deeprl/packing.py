"""Observations of several parts as one row, so that workers, journals, replays, checkpoints and devices carry one array as ever.

    numbers alone     float32   [numbers]                            [mask]
    with an image     uint8     [bytes of the numbers]   [pixels]    [mask]        an image costs its pixels, a number its four bytes

In each section parts that all networks see come before privileged ones. Networks see the vector of `unpack`, one float32 for each number
and pixel: first the common numbers and pixels, then the privileged ones, which is the order of `Spec.parts`. The agent's border makes it,
`deeprl.learning.transforms.apart`; the first module of a network takes the images out of it,
`deeprl.learning.networks.side_by_side`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from deeprl.types import ObsPart, Spec

NUMBER = 4
"""Bytes of a float32"""


def arranged(parts: Iterable[ObsPart]) -> tuple[ObsPart, ...]:
    """Parts in the order of `Spec.parts`; those of a kind keep theirs."""
    return tuple(sorted(parts, key=lambda part: (part.privileged, part.dtype == torch.uint8)))


def numbers_of(parts: Iterable[ObsPart], *privileged: bool) -> int:
    """How many numbers are stored as float32, of common parts (False), of privileged ones (True), by default of both."""
    return sum(part.size for part in parts if part.dtype == torch.float32 and part.privileged in (privileged or (False, True)))


def width_of(parts: Iterable[ObsPart]) -> int:
    """Entries of `unpack`."""
    return sum(part.size for part in parts)


def common(parts: Iterable[ObsPart]) -> tuple[ObsPart, ...]:
    """The parts that all networks see."""
    return tuple(part for part in parts if not part.privileged)


def kept(parts: Iterable[ObsPart]) -> list[list]:
    """What a checkpoint keeps of parts: name, shape, type, and whether critics alone see it."""
    return [[part.name, list(part.shape), str(part.dtype).removeprefix("torch."), part.privileged] for part in parts]


def check_kept(stored: object, parts: Iterable[ObsPart]) -> None:
    """Weights and rows have a column for each number of the parts, in their order, so that those of other parts go into wrong ones.

    Args:
        stored: of a checkpoint, which may be a stranger's: `kept`, or names alone, as older ones have them.

    Raises:
        ValueError: it is not of these parts.
    """
    own = kept(parts)
    theirs = list(stored) if isinstance(stored, (list, tuple)) else [stored]
    if repr(theirs) not in (repr(own), repr([name for name, *_ in own])):  # as words, because a stranger's tensors compare to nothing
        raise ValueError(f"it is of observations with the parts {in_words(theirs)}, and the environment has {in_words(own)}")


def in_words(stored: list) -> str:
    """`kept` for a message. What is no part of it is shown as Python has it, so that no escape sequence is printed."""
    words = []
    for part in stored:
        match part:
            case [str() as name, list() as shape, "float32" | "uint8" as dtype, bool() as privileged]:
                words.append(f"{name!r:.60} {dtype} {tuple(shape)!r:.60}{' for critics alone' if privileged else ''}")
            case _:
                words.append(f"{part!r:.60}")
    return ", ".join(words) or "none"


def packed_spec(parts: Iterable[ObsPart], num_actions: int, action_dim: int, masked: bool = False, choices: tuple[int, ...] = ()) -> Spec:
    """Spaces of an environment with these parts."""
    parts = arranged(parts)
    numbers, width = numbers_of(parts), width_of(parts)
    bytes_alone = numbers < width
    spec = Spec((), torch.float32, num_actions, action_dim, masked=masked, parts=parts, choices=choices)
    row = (NUMBER * numbers if bytes_alone else numbers) + width - numbers + spec.mask_size * masked
    return spec._replace(obs_shape=(row,), obs_dtype=torch.uint8 if bytes_alone else torch.float32)


def pack(spec: Spec, values: Sequence[np.ndarray], mask: np.ndarray | None = None) -> np.ndarray:
    """Rows (*B, row) of parts (*B, *shape) in the order of `spec.parts`, and of a mask (*B, A) of zeros and ones."""
    lead = values[0].shape[: values[0].ndim - len(spec.parts[0].shape)]
    flat = [np.asarray(value).reshape(*lead, -1) for value in values]
    numbers = [row.astype(np.float32, copy=False) for row, part in zip(flat, spec.parts) if part.dtype == torch.float32]
    masks = [] if mask is None else [mask]
    if spec.obs_dtype == torch.float32:
        return np.concatenate([*numbers, *masks], -1, dtype=np.float32)
    pixels = [row for row, part in zip(flat, spec.parts) if part.dtype == torch.uint8]
    stored = [np.ascontiguousarray(np.concatenate(numbers, -1)).view(np.uint8)] if numbers else []
    return np.concatenate([*stored, *pixels, *masks], -1, dtype=np.uint8, casting="unsafe")


def unpacked(spec: Spec, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Inverse of `pack`: parts (*B, *shape) in the order of `spec.parts`, and the mask (*B, A), None without one."""
    end = rows.shape[-1] - spec.mask_size * spec.masked
    start = {torch.float32: 0, torch.uint8: NUMBER * numbers_of(spec.parts)}
    numbers, values = numbers_in(spec.parts, rows), []
    for part in spec.parts:
        source, at = numbers if part.dtype == torch.float32 else rows, start[part.dtype]
        values.append(source[..., at : at + part.size].reshape(*rows.shape[:-1], *part.shape))
        start[part.dtype] = at + part.size
    return values, rows[..., end:] if spec.masked else None


def numbers_in(parts: Iterable[ObsPart], rows: np.ndarray) -> np.ndarray:
    """The float32 numbers (*B, n) of rows, common ones first."""
    count = numbers_of(parts)
    return rows[..., :count] if rows.dtype != np.uint8 else np.ascontiguousarray(rows[..., : NUMBER * count]).view(np.float32)


def divide(parts: tuple[ObsPart, ...], obs: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers (*B, n) and pixels (*B, p) as float32, common ones first in both, of rows without their mask: packed ones, or those of
    `unpack`."""
    count, here = numbers_of(parts), numbers_of(parts, False)
    if obs.dtype == torch.uint8 and not count:
        return obs[..., :0].to(torch.float32), obs.to(torch.float32)
    if obs.dtype == torch.uint8:
        # a copy, because a view of bytes as numbers needs their alignment
        numbers = obs[..., : NUMBER * count].clone(memory_format=torch.contiguous_format).view(torch.float32)
        return numbers, obs[..., NUMBER * count :].to(torch.float32)
    if count == obs.shape[-1]:
        return obs, obs[..., :0]
    pixels = width_of(common(parts)) - here
    first, seen, second, hidden = obs.split([here, pixels, count - here, obs.shape[-1] - pixels - count], -1)
    return torch.cat([first, second], -1), torch.cat([seen, hidden], -1)


def join(parts: tuple[ObsPart, ...], numbers: Tensor, pixels: Tensor) -> Tensor:
    """Inverse of `divide`: (*B, n) and (*B, p) in the order of `parts`."""
    here = numbers_of(parts, False)
    seen = width_of(common(parts)) - here
    return torch.cat([numbers[..., :here], pixels[..., :seen], numbers[..., here:], pixels[..., seen:]], -1)
