"""Gymnasium's classic control tasks: CartPole, Acrobot, MountainCar, Pendulum."""

from __future__ import annotations

from dataclasses import dataclass

from .gym import Registered


@dataclass(frozen=True, kw_only=True)
class Classic(Registered):
    """Always made singly: `gymnasium.make_vec("CartPole-v1")` would return a vector with one generator for all copies."""

    obs_scale: list[float] | None = None
    """How large each component of an observation gets. Observations that leave this layer are raw; agents may divide by it."""
