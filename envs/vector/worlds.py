"""What a tensor world is, and its random numbers: functions of the run's seed, the environment, its episode and its step, so that a copy
does not depend on how many there are."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from deeprl.types import Spec

from .actions import Actions

GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""Constants of SplitMix64 (Steele, Lea and Flood, 2014), as signed numbers: torch has no unsigned products"""
State = dict[str, Tensor]
"""Tensors (M, …) by name"""


def mix(key: Tensor) -> Tensor:
    """SplitMix64 of int64 keys: the output of the generator whose state was `key` before the call."""
    key = key + GOLDEN
    key = (key ^ (key >> 30 & (1 << 34) - 1)) * FIRST
    key = (key ^ (key >> 27 & (1 << 37) - 1)) * SECOND
    return key ^ (key >> 31 & (1 << 33) - 1)


def uniforms(keys: Tensor, count: int) -> Tensor:
    """(n,) keys -> (n, count) float64 in [0, 1), of 53 bits."""
    places = torch.arange(count, device=keys.device) * GOLDEN
    return (mix(keys.unsqueeze(-1) + places) >> 11 & (1 << 53) - 1).double() * 2.0**-53


def numbers(keys: Tensor, episode: Tensor, step: Tensor, count: int) -> Tensor:
    """(n, count) uniform numbers of a step of the episodes (n,) of environments with these keys; the start of an episode is step 0."""
    return uniforms(mix(mix(keys + episode) + step), count) if count else torch.empty(len(keys), 0, dtype=torch.float64, device=keys.device)


class TensorWorld(ABC):
    """M copies of one environment as pure functions of tensors. Copies do not meet: row i of each result depends on row i alone.

    Methods must not branch on a tensor (`torch.where` takes its place), because `accelerate=compiled` traces them.

    Attributes:
        draws: uniform numbers that the start of an episode takes.
        noise: uniform numbers that a step takes.
        limit: steps after which an episode is truncated.
    """

    spec: Spec
    actions: Actions
    draws: int = 0
    noise: int = 0
    limit: int | None = None

    @abstractmethod
    def begin(self, draws: Tensor) -> State:
        """States (n, …) at the start of episodes, of uniform numbers (n, draws) float64."""

    @abstractmethod
    def advance(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        """A step: new states, rewards (M,) and (M,) bool whether they are terminal. `action` is in the environment's own form; `noise`
        (M, noise) float64 uniform."""

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """(M, *obs) of `spec.obs_dtype`."""

    def frame(self, state: State) -> np.ndarray:
        """(H, W, 3) uint8, RGB: the picture of the only copy."""
        raise NotImplementedError("it draws no frames")
