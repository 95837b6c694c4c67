"""The records that cross module borders. Axis letters are those of docs/architecture.md, section "Axes".

K chained iterations   C reward channels   E critics   B batch (`*B` is B, or T, B for sequences)
A actions              N atoms             D action dimension              M parallel environments
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Spec(NamedTuple):
    """What an agent may know of its environment."""

    obs_shape: tuple[int, ...]
    """(17,) for vectors, (channels, height, width) for images."""
    obs_dtype: torch.dtype
    """`torch.float32` or, for images, `torch.uint8`."""
    num_actions: int
    """Discrete actions; 0 if the actions are continuous."""
    action_dim: int
    """Continuous actions, each in [-1, 1]; 0 if the actions are discrete."""
    frame_stack: int = 1
    """How many of the leading channels are consecutive single-channel frames (4 on Atari). A replay may store only the newest
    frame of each observation; frames from before the start of an episode are zeros."""


class Rows(NamedTuple):
    """One tick of M environments: what the collector hands to the replay and to `Agent.observe`. NumPy, raw rewards."""

    obs: np.ndarray
    """(M, *obs)"""
    action: np.ndarray
    """(M,) int64 or (M, D) float32 in [-1, 1]"""
    reward: np.ndarray
    """(M,) float32, unclipped"""
    next_obs: np.ndarray
    """(M, *obs); the true last observation where the episode ended, never the one after a reset"""
    terminated: np.ndarray
    """(M,) bool: no bootstrap"""
    ended: np.ndarray
    """(M,) bool: episode boundary after this step, whatever the cause. A lost life may be terminated without ended."""
    probability: np.ndarray
    """(M,) float32: probability (or log density) with which the behaviour took the action; 0 where no part of the agent reads it"""


class NetworkNoise(NamedTuple):
    """The random numbers of one evaluation of a value network."""

    layers: dict[str, Tensor]
    """Standard normal numbers of noisy layers, the same for the whole batch"""
    fractions: dict[str, Tensor]
    """Inputs of an implicit quantile head, (*B, n): "policy" and, where something is regressed or bootstrapped, "samples" """


QUIET = NetworkNoise({}, {})
"""Of an evaluation without random numbers"""


class ViewNoise(NamedTuple):
    """The random numbers of one network at both ends of a batch."""

    now: NetworkNoise = QUIET
    next: NetworkNoise = QUIET


class Batch(NamedTuple):
    """What the replay hands to an agent. `reward + discount * value` is every target: discount factor, termination,
    truncation and n-step folding happen in the replay and nowhere else."""

    obs: Tensor
    """(*B, *obs)"""
    action: Tensor
    """(*B,) int64 or (*B, D)"""
    reward: Tensor
    """(*B,) or (C, *B): sum over m <= n steps, each reward transformed first"""
    discount: Tensor
    """(*B,): discount ** m * (1 - terminated at the last of the m steps); 0 on rows that are not `valid`. A time limit alone does not make
    it 0."""
    next_obs: Tensor
    """(*B, *obs), m steps later"""
    steps: Tensor
    """(*B,) int64: m"""
    ended: Tensor
    """(*B,) bool: episode boundary after this step"""
    valid: Tensor
    """(*B,) bool: false on rows of a sequence that are no transition"""
    weight: Tensor
    """(*B,): importance weight, ones if uniform"""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    """(*B,) int64: where `Replay.update_priorities` finds the row"""
    noise: dict[str, Any]
    """All randomness of the update, drawn outside: of a discrete agent "online" and "target", a `ViewNoise` each; else tensors by name"""
    extra: dict[str, Tensor]
    """By declared needs: "successor" (the observation one step later), "terminated" (whether the first step terminated),
    "behavior_probability" """


class Acted(NamedTuple):
    """What `Agent.act` answers."""

    action: Tensor
    """(M,) int64 or (M, D)"""
    probability: Tensor
    """(M,)"""
    memory: dict[str, Tensor]
    """Handed back at the next call; agents keep no state of their own between calls"""
    value: Tensor | None = None
    """(M,): in evaluation, what the network that acts says of the action, in units of the learned rewards; None if it was not asked"""
    gap: Tensor | None = None
    """(M,): in evaluation, its best value minus the second, where actions are discrete"""


class Learned(NamedTuple):
    """What one update reports. Reading a number from it is the caller's choice: nothing here forces a device sync."""

    error: Tensor
    """(*B,) |target - prediction| in ordinary units, mean over K: the priority"""
    metrics: dict[str, Tensor]
