"""Conversion of a Gymnasium environment's spaces: what agents see of it, and how their actions reach it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from deeprl.types import Spec

from .masks import column, mask_of
from .vector.spaces import actions_of, described, observations_of


class Conversion:
    """Observations are checked. Action masks are their last columns.

    Args:
        observation_space, action_space: of one environment.
        channels, mask: as in `Gym`.

    Raises:
        ValueError: a space is not supported, or masks are wanted where none can be.
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, channels: str | None, mask: bool | None):
        self.actions = actions_of(action_space)
        num = self.actions.num
        self.mask, space = mask_of(observation_space, num, mask)
        shape, dtype, self.convert, self.note = observations_of(space, channels)
        self.observation = self.note or described(space, channels)
        if self.mask.masked:
            if len(shape) > 1:
                raise ValueError(
                    f"the observation space {space} holds images, and action masks go with vectors only: flatten the images by a wrapper, "
                    "or set env.mask=false"
                )
            shape = (shape[0] + num,)
        self.spec = Spec(shape, dtype, num, 0 if num else math.prod(self.actions.shape), masked=self.mask.masked)
        self._dtype = None if isinstance(action_space, spaces.Discrete) else action_space.dtype

    def row(self, obs: Any, info: dict[str, Any], terminated: bool) -> np.ndarray:
        """(*obs): the observation as agents see it.

        Raises:
            ValueError: it is not one of its space, or its mask is missing or wrong.
        """
        obs, mask = self.mask.divided(obs, info)
        row = self.convert(obs)
        return row if mask is None else np.concatenate([row, column(mask, self.actions.num, terminated)])

    def action(self, action: Any) -> Any:
        """An action of `actions.to_env`, or several, in the type of the space."""
        return action if self._dtype is None else action.astype(self._dtype, copy=False)
