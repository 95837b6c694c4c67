"""Action masks of Gymnasium environments: which of the discrete actions are valid in the present state.

Two conventions exist. PettingZoo's observations are a Dict of "observation" and "action_mask"; others have `info["action_mask"]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeGuard

import numpy as np
from gymnasium import spaces

KEY = "action_mask"
GymInfo = dict[str, Any]
"""What an environment tells beside an observation"""
Divided = tuple[Any, Any]
"""An observation as its space has it, and its mask, None without one"""


class NoMask:
    """Observations without a mask."""

    masked: ClassVar[bool] = False

    def divided(self, obs: object, info: GymInfo) -> Divided:
        """An observation without its mask."""
        return obs, None


class ObservedMask(NoMask):
    """Masks in a Dict of "observation" and "action_mask"."""

    masked = True

    def divided(self, obs: Any, info: GymInfo) -> Divided:
        try:
            return obs["observation"], obs[KEY]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f'observation {obs!r:.100} is no dictionary of "observation" and "{KEY}"') from error


class ToldMask(NoMask):
    """Masks in `info`."""

    masked = True

    def divided(self, obs: object, info: GymInfo) -> Divided:
        if KEY not in info:
            raise ValueError(
                f'env.mask=true, and info has no "{KEY}", only {sorted(map(str, info))}: reset and step must both give it. '
                "Without masks, leave env.mask out"
            )
        return obs, info[KEY]


def observes_mask(space: spaces.Space) -> TypeGuard[spaces.Dict]:
    """Whether observations are {observation, action_mask}."""
    return isinstance(space, spaces.Dict) and set(space) == {"observation", KEY}


def mask_of(space: spaces.Space, actions: int, wanted: bool | None) -> tuple[NoMask, spaces.Space]:
    """Where the masks of an environment are, and the space of its observations without them.

    Args:
        actions: number of discrete actions; 0 if they are continuous.
        wanted: `env.mask`. None takes a mask of observations, because it can mean nothing else there.

    Raises:
        ValueError: the actions are continuous, and have no masks.
    """
    if wanted and not actions:
        raise ValueError("env.mask=true needs discrete actions, because continuous ones have no mask: leave env.mask out")
    if wanted is False or not actions or not (wanted or observes_mask(space)):
        return NoMask(), space
    return (ObservedMask(), space["observation"]) if observes_mask(space) else (ToldMask(), space)


def column(mask: object, sizes: Sequence[int], terminated: bool) -> np.ndarray:
    """A mask as float32 numbers (A,), 0 or 1.

    Args:
        mask: an array, or of several components a tuple of one for each, as Gymnasium's MultiDiscrete has it.
        sizes: actions of each component.

    Raises:
        ValueError: it has another shape or other numbers, or no action is valid while the episode goes on.
    """
    row, actions = np.concatenate(mask) if isinstance(mask, tuple) and len(sizes) > 1 else np.asarray(mask), sum(sizes)
    if row.shape != (actions,) or row.dtype.kind not in "fiub" or not np.isin(row, (0, 1)).all():
        raise ValueError(
            f"action mask is {row.dtype} of shape {row.shape}, {mask!r:.100}, not {actions} zeros and ones, one for each action"
        )
    if not (terminated or all(part.any() for part in np.split(row, np.cumsum(sizes)[:-1]))):
        raise ValueError("action mask has no valid action, and the episode goes on, or was truncated, after which targets need one too")
    return row.astype(np.float32)
