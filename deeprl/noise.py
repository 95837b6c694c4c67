"""Randomness as data: every random number of a run is a function of (seed, purpose, part, position).

A stream draws blocks of many updates (or ticks) at once. Block j has its own generator, seeded by `SeedSequence([seed, purpose, part, j])`,
so that the position of a stream is its whole state.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.system.staging import Staging

PURPOSES = ("init", "environment", "explore", "update", "replay", "evaluation")


def seed_sequence(seed: int, purpose: str, part: str | int = 0, block: int = 0) -> np.random.SeedSequence:
    """Seed of one block of a stream. A `part` that is a name is replaced by its CRC-32, which is the same in every process."""
    number = zlib.crc32(part.encode()) if isinstance(part, str) else int(part)
    return np.random.SeedSequence([int(seed), PURPOSES.index(purpose), number, int(block)])


def torch_generator(seed: int, purpose: str, part: str | int = 0, block: int = 0) -> torch.Generator:
    generator = torch.Generator()
    generator.manual_seed(int(seed_sequence(seed, purpose, part, block).generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return generator


def initial_seed(seed: int, part: str) -> int:
    """Seed of the global generators while a part is built, of 32 bits: ours draw from their own, layers of torch in a part of one's own
    do not."""
    return int(seed_sequence(seed, "init", part).generate_state(1)[0])


def episode_seed(seed: int, index: int, episode: int, evaluation: bool = False) -> int:
    """Seed of one episode, for `reset(seed=...)`, of 31 bits. The lowest bit is 1 in evaluation and 0 in training, so that no evaluation
    episode repeats a training episode."""
    purpose = "evaluation" if evaluation else "environment"
    state = int(seed_sequence(seed, purpose, index, episode).generate_state(1)[0])
    return (state >> 2 << 1) | int(evaluation)


FEW = 32
"""Positions that a stream unpacks from its block at once"""


def map_tensors(function: Callable[[Tensor], Any], noise: Any) -> Any:
    """Results of `function` on every tensor in nested dictionaries and named tuples, in the same structure."""
    if isinstance(noise, Tensor):
        return function(noise)
    if isinstance(noise, dict):
        return {name: map_tensors(function, value) for name, value in noise.items()}
    return type(noise)(*(map_tensors(function, value) for value in noise))


def entries(noise: object, start: int, number: int) -> Sequence[Any]:
    """Entries `start` … `start + number − 1` of the first axis."""
    if isinstance(noise, Tensor):
        return noise[start : start + number].unbind(0)
    found: list[Tensor] = []
    map_tensors(found.append, noise)
    if not found:  # a record without tensors is the same at every position
        return [noise] * number
    return [map_tensors(itemgetter(place), noise) for place in range(start, start + number)]


class NoiseStream:
    """Random numbers for one consumer, drawn `block` positions at a time.

    Args:
        seed, purpose, part: name of the stream, see `seed_sequence`.
        draw: `draw(block, generator)` returns tensors by name, or records of them, whose first axis has `block` entries.
        block: positions drawn at once. Another value gives other numbers.
        device: where the numbers go, a block at a time.
    """

    def __init__(self, seed: int, purpose: str, part: str, draw: Callable[[int, torch.Generator], dict[str, Any]], block: int, device=None):
        self.seed, self.purpose, self.part, self.draw, self.block = seed, purpose, part, draw, block
        self.stage = None if device is None or torch.device(device).type == "cpu" else Staging(torch.device(device))
        self.position = 0
        self._loaded = -1
        self._drawn: dict[str, Any] = {}
        self._few: dict[str, Sequence[Any]] = {}
        self._from = self._until = 0
        """Range of the positions in `_few`"""

    def next(self) -> dict[str, Any]:
        """Numbers of the present position by name, without the block axis; then move on by one."""
        position = self.position
        if not self._from <= position < self._until:
            self._take(position)
        self.position += 1
        place = position - self._from
        return {name: entries[place] for name, entries in self._few.items()}

    def _take(self, position: int) -> None:
        """Unpack a few positions of the block that holds them."""
        block, offset = divmod(position, self.block)
        if block != self._loaded:
            drawn = self.draw(self.block, torch_generator(self.seed, self.purpose, self.part, block))
            if self.stage is not None:
                found: list[Tensor] = []
                map_tensors(found.append, drawn)
                there = iter(self.stage(found) if found else ())
                drawn = map_tensors(lambda _: next(there), drawn)
            self._drawn, self._loaded = drawn, block
        self._from, self._until = position, min(position + FEW, (block + 1) * self.block)
        self._few = {name: entries(value, offset, self._until - position) for name, value in self._drawn.items()}

    def state_dict(self) -> dict:
        return {"position": self.position}

    def load_state_dict(self, state: dict) -> None:
        position = int(state["position"])
        if not 0 <= position < 1 << 62:
            raise ValueError(f"the noise {self.purpose}/{self.part} cannot be at position {position}")
        self.position = position
