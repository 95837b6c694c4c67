"""Actions of agents, integers from 0 or vectors in [-1, 1], in the form of the environment that takes them. Any other space of Gymnasium
raises an error that names it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

LARGEST_PRODUCT = 1024
"""Combinations of a MultiDiscrete action, at most, because a network has one output for each"""
OWN = "Gymnasium has no wrapper for this: write one of your own, and name it in env.wrappers or let env.function return it,"


class Actions(NamedTuple):
    """Conversion of an agent's action into the environment's own form."""

    num: int
    """Discrete actions; 0 if continuous."""
    start: int | np.ndarray = 0
    """The environment's first discrete action; of each component where there are `sizes`."""
    low: np.ndarray | None = None
    """(D,) bounds of a continuous action"""
    high: np.ndarray | None = None
    shape: tuple[int, ...] = ()
    """Shape of one action in the environment's own form; its product is D, or the number of `sizes`."""
    sizes: tuple[int, ...] = ()
    """Choices of each component. The discrete actions are all combinations of them, the last component changing fastest; without discrete
    actions, each component of a continuous one is a choice, see `Spec.choices`."""

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """(M,) int64 or (M, D) float in [-1, 1], clipped -> (M,) int64 or (M, *shape) in the environment's own type."""
        if self.num:
            action = np.asarray(action, dtype=np.int64)
            if self.sizes:
                action = np.stack(np.unravel_index(action, self.sizes), -1).reshape(len(action), *self.shape)
                return action + self.start
            return action + self.start  # a new array, as an environment may change it
        unit = np.minimum(np.maximum(np.asarray(action, dtype=np.float32), -1.0), 1.0)
        if self.sizes:
            place = np.rint((unit + 1.0) / 2.0 * (np.array(self.sizes) - 1)).astype(np.int64)
            return place.reshape(len(unit), *self.shape) + self.start
        assert self.low is not None
        assert self.high is not None
        # written around the centre so that bounds of ±1 leave every action as it is, bit for bit
        scaled = (self.high + self.low) / 2 + (self.high - self.low) / 2 * unit
        return np.minimum(np.maximum(scaled, self.low), self.high).reshape(len(unit), *self.shape)


def valid_choices(row: np.ndarray, choices: Sequence[int], u: float = 0.0) -> np.ndarray:
    """An action (D,) of valid choices, for a row whose last columns are their mask. `u` in [0, 1) says which of them."""
    parts = np.split(row[-sum(choices) :], np.cumsum(choices)[:-1])
    valid = [np.flatnonzero(part) if part.any() else np.arange(len(part)) for part in parts]
    places = [each[int(u * len(each))] for each in valid]
    return (2.0 * np.array(places) / np.maximum(np.array(choices) - 1, 1) - 1.0).astype(np.float32)


def actions_of(space: spaces.Space, components: bool = False) -> Actions:
    """
    Args:
        components: of MultiDiscrete and MultiBinary, each component is chosen for itself, in place of one of all combinations.

    Raises:
        ValueError: a space other than Discrete, MultiDiscrete and MultiBinary of few combinations, and bounded Box of floats; or it has no
            components, or holds no number.
    """
    if 0 in (space.shape or ()):
        raise ValueError(f"the action space {space} holds no number. {OWN} a gymnasium.ActionWrapper with something to choose.")
    if components:
        if isinstance(space, spaces.MultiDiscrete):
            return Actions(0, space.start, shape=space.shape, sizes=tuple(space.nvec.reshape(-1).tolist()))
        if isinstance(space, spaces.MultiBinary):
            return Actions(0, shape=space.shape, sizes=(2,) * math.prod(space.shape))
        raise ValueError(f"env.components=true needs an action space MultiDiscrete or MultiBinary, not {space}: leave it out")
    if isinstance(space, spaces.Discrete):
        return Actions(num=int(space.n), start=int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return _product(space, tuple(space.nvec.reshape(-1).tolist()), space.start)
    if isinstance(space, spaces.MultiBinary):
        return _product(space, (2,) * math.prod(space.shape))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        with np.errstate(over="ignore", invalid="ignore"):
            bounded = np.isfinite(space.high - space.low).all() and np.isfinite(space.high + space.low).all()  # `to_env` needs both
        if not bounded:
            raise ValueError(
                f"the action space {space} has no bounds, or such wide ones that their sum or distance is infinite, so that actions in "
                "[-1, 1] cannot be scaled to it. "
                f"{OWN} a gymnasium.ActionWrapper whose action space has bounds."
            )
        return Actions(num=0, low=space.low.reshape(-1), high=space.high.reshape(-1), shape=space.shape)
    raise ValueError(
        f"the action space {space} is not supported, only Discrete, MultiDiscrete, MultiBinary and Box of floats. "
        f"{OWN} a gymnasium.ActionWrapper."
    )


def _product(space: spaces.MultiDiscrete | spaces.MultiBinary, sizes: tuple[int, ...], start: int | np.ndarray = 0) -> Actions:
    """One discrete action for each combination of several choices."""
    if (num := math.prod(sizes)) > LARGEST_PRODUCT:
        raise ValueError(
            f"the action space {space} has {num:,} combinations, more than the {LARGEST_PRODUCT:,} that fit one discrete action. "
            "Policies of rollouts take components each for itself, env.components=true agent=ppo. "
            f"{OWN} a gymnasium.ActionWrapper with fewer actions."
        )
    return Actions(num, start, shape=space.shape, sizes=sizes)
