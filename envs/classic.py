"""Gymnasium's classic control tasks: CartPole, Acrobot, MountainCar, Pendulum."""

from __future__ import annotations

from dataclasses import dataclass

from .gym import Registered


@dataclass(frozen=True, kw_only=True)
class Classic(Registered):
    """A classic control task. Copies are made one by one, because `gymnasium.make_vec("CartPole-v1")` gives all of them one generator."""

    obs_scale: list[float] | None = None
    """Size that each component of an observation reaches. Observations stay raw here; agents may divide by it."""
