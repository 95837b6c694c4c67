"""By which rule episodes of Gymnasium's tasks terminate, as functions of the observation after a step, for models that imagine steps.

They hold for the tasks as they are registered, of MuJoCo without the position along the track.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def never(obs: Tensor) -> Tensor:
    return torch.zeros(obs.shape[0], dtype=torch.bool, device=obs.device)


def hopper(obs: Tensor) -> Tensor:
    upright = (obs[:, 0] > 0.7) & (obs[:, 1].abs() < 0.2)
    return ~(upright & (obs[:, 1:].abs() < 100).all(1))


def walker2d(obs: Tensor) -> Tensor:
    return ~((obs[:, 0] > 0.8) & (obs[:, 0] < 2.0) & (obs[:, 1].abs() < 1.0))


def ant(obs: Tensor) -> Tensor:
    return ~((obs[:, 0] >= 0.2) & (obs[:, 0] <= 1.0))


def humanoid(obs: Tensor) -> Tensor:
    return ~((obs[:, 0] > 1.0) & (obs[:, 0] < 2.0))


def inverted_pendulum(obs: Tensor) -> Tensor:
    return ~(obs[:, 1].abs() <= 0.2)


def inverted_double_pendulum(obs: Tensor) -> Tensor:
    """The tip of two poles of 0.6 is at a height of at most 1."""
    (first, second), (cosine, other) = obs[:, 1:3].unbind(1), obs[:, 3:5].unbind(1)
    return 0.6 * (cosine + cosine * other - first * second) <= 1.0


RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "Pendulum": never,
    "HalfCheetah": never,
    "Swimmer": never,
    "Reacher": never,
    "Pusher": never,
    "HumanoidStandup": never,
    "Hopper": hopper,
    "Walker2d": walker2d,
    "Ant": ant,
    "Humanoid": humanoid,
    "InvertedPendulum": inverted_pendulum,
    "InvertedDoublePendulum": inverted_double_pendulum,
}


def rule_of(name: str, kwargs: dict) -> Callable[[Tensor], Tensor] | None:
    """The rule of a registered id; None: it is not known, or arguments may have changed it."""
    return None if kwargs else RULES.get(name.rpartition("-v")[0])
