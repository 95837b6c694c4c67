"""Journals of environments, from which their state is restored.

Gymnasium has no general snapshot. The state of a deterministic environment is its last seeded reset and every action since: a `Journal`
keeps them, with a 64-bit hash of all observations, rewards and flags since. `deeprl.envs.vector.repeat` replays it.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from deeprl.types import Spec

from .backend import StepResult

_FLAGS = struct.Struct("<f??")


class Journal:
    """Actions of one environment since its last seeded reset, and a hash of its answers."""

    def __init__(self, spec: Spec, episode: int):
        self.spec = spec
        self.episode = episode  # number of the running episode
        self.steps = 0  # in the running episode
        self.seed: int | None = None  # of the last seeded reset
        self.actions = bytearray()  # since that reset, each of fixed size; resets follow from the flags and need no entry
        self.count = 0
        self.hash = hashlib.blake2b(digest_size=8)

    def begin(self, seed: int | None, obs: np.ndarray) -> None:
        """Record that a new episode starts with `obs`."""
        self.episode += 1
        self.steps = 0
        if seed is not None:
            self.seed, self.count = seed, 0
            self.actions = bytearray()
            self.hash = hashlib.blake2b(digest_size=8)
        self.hash.update(obs.tobytes())

    def note(self, action: np.ndarray, answer: StepResult, limit: int) -> None:
        """Record one step. Of stacked frames only the newest is hashed, because the older ones were hashed before."""
        _, obs, reward, terminated, ended, _ = answer
        self.steps += 1
        self.count += 1
        if self.count <= limit:
            self.actions += action.tobytes()
        else:
            self.actions.clear()  # too long to be repeated
        newest = obs[-(len(obs) // self.spec.frame_stack) :] if self.spec.frame_stack > 1 else obs
        self.hash.update(newest.tobytes() + _FLAGS.pack(reward, terminated, ended))

    def entry(self) -> dict:
        """For a checkpoint: "actions" is (count,) int64 or (count, D) float32, everything else is JSON-able."""
        actions = np.frombuffer(bytes(self.actions), np.int64 if self.spec.num_actions else np.float32)
        return {
            "episode": self.episode,
            "steps": self.steps,
            "seed": self.seed,
            "count": self.count,
            "hash": self.hash.hexdigest(),
            "actions": actions if self.spec.num_actions else actions.reshape(-1, self.spec.action_dim),
        }


def possible(entry: dict, spec: Spec) -> bool:
    """Whether a journal can hold the actions, the seed and the episode of an entry."""
    actions, seed = entry["actions"], entry["seed"]
    if spec.num_actions:
        fine = actions.dtype == np.int64 and actions.ndim == 1 and ((actions >= 0) & (actions < spec.num_actions)).all()
    else:
        fine = actions.dtype == np.float32 and actions.shape[1:] == (spec.action_dim,) and np.isfinite(actions).all()
    return bool(fine) and type(seed) is int and 0 <= seed < 2**31 and 0 <= int(entry["episode"]) < 2**62
