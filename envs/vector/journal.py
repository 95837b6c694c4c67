"""What is needed to bring an environment back to where it was.

Gymnasium has no general snapshot. The state of a deterministic environment is its last seeded reset and every action since: the journal
keeps them, with a 64-bit hash of everything seen on the way.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np

PIECE = 4096
"""Bytes that are hashed at once"""


class Journal:
    """What one environment went through since its last seeded reset."""

    def __init__(self, episode: int):
        self.episode = episode  # number of the running episode
        self.steps = 0  # in the running episode
        self.seed: int | None = None  # of the last seeded reset
        self.actions = bytearray()  # since then, of fixed size each; resets follow from the flags, so they need no entry
        self.count = 0
        self.seen = bytearray()  # not hashed yet: one large piece is quicker than many small ones
        self.hash = hashlib.blake2b(digest_size=8)

    def begin(self, seed: int | None, obs: np.ndarray) -> None:
        """A new episode starts with `obs`."""
        self.episode += 1
        self.steps = 0
        if seed is not None:
            self.seed, self.count = seed, 0
            self.actions = bytearray()
            self.seen = bytearray()
            self.hash = hashlib.blake2b(digest_size=8)
        self.seen += obs.tobytes()

    def note(self, action: bytes, obs: np.ndarray, reward: float, terminated: bool, ended: bool, limit: int) -> None:
        self.steps += 1
        self.count += 1
        if self.count <= limit:
            self.actions += action
        elif self.actions:
            self.actions = bytearray()  # too long to replay: what was kept is of no use any more
        self.seen += obs.tobytes() + _FLAGS.pack(reward, terminated, ended)
        if len(self.seen) > PIECE:
            self._take()

    def _take(self) -> None:
        self.hash.update(self.seen)
        self.seen.clear()

    def digest(self) -> str:
        """Of everything seen since the last seeded reset, hexadecimal."""
        self._take()
        return self.hash.hexdigest()


_FLAGS = struct.Struct("<f??")
