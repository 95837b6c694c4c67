"""Conversion of a Gymnasium environment's spaces: what agents see of it, and how their actions reach it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from deeprl.types import Spec

from .masks import KEY, GymInfo, ToldMask, column, mask_of
from .vector.actions import actions_of
from .vector.observations import brief
from .vector.parts import Form, are_flags, leaves, seen, whole


def has_form(space: spaces.Space, obs: Any) -> bool:
    """Whether it has the keys and shapes of a space's observations. Of numbers the type does not matter, nor their bounds, which a running
    environment is not held to either."""
    if isinstance(space, spaces.Dict):
        return isinstance(obs, Mapping) and obs.keys() == space.keys() and all(has_form(space[key], obs[key]) for key in space)
    if isinstance(space, spaces.Tuple):
        own = isinstance(obs, tuple | list | np.ndarray) and len(obs) == len(space)
        return own and all(has_form(part, each) for part, each in zip(space, obs))
    if isinstance(obs, Mapping):
        return False
    if isinstance(space, spaces.Box):
        return np.shape(obs) == space.shape
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):  # floats of that shape may be a row of agents
        return np.shape(obs) == (space.shape or ()) and np.asarray(obs).dtype.kind in "iub"
    return bool(space.contains(obs))


class Conversion:
    """Observations are checked. Action masks are their last columns.

    Args:
        observation_space, action_space: of one environment.
        form: how observations are seen.

    Raises:
        ValueError: a space is not supported, or masks are wanted where none can be.
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, form: Form = Form()):
        for name, space in (("observation_space", observation_space), ("action_space", action_space)):
            if not isinstance(space, spaces.Space):
                raise ValueError(f"its {name} is {space!r:.60}, and must be a space of Gymnasium: set self.{name} in its __init__")
        self.space, self.actions = observation_space, actions_of(action_space, form.components)
        num = self.actions.num
        choices = self.actions.sizes if form.components else ()
        columns = sum(choices) or num
        self.mask, space = mask_of(observation_space, columns, form.mask)
        if self.mask.masked and KEY in form.privileged:
            raise ValueError(f"env.privileged names {KEY}, which is the mask of the actions, and no part: leave it out")
        shape, dtype, self.convert, self.observation, self.note, parts = seen(space, form)
        if 0 in shape:
            raise ValueError(
                f"the observation space {brief(space)} holds no number, and an agent needs one at least: let it show a constant"
            )
        behind = () if space is observation_space else ("observation",)
        self.hidden = [(*behind, *place) for name, place, _ in leaves(space) if name in form.privileged]
        """Places of privileged parts"""
        if self.mask.masked:
            if any(part.name == KEY for part in parts):
                raise ValueError(
                    f"a part of its observations has the name {KEY}, which is that of the mask beside it: give it another key by a "
                    "wrapper, or set env.mask=false"
                )
            if len(shape) > 1:
                raise ValueError(
                    f"the observation space {space} holds images, and action masks go with vectors only: flatten the images by a wrapper, "
                    "or set env.mask=false"
                )
            shape = (shape[0] + columns,)
            self.observation += f", followed by its action mask, {columns} zeros and ones"
        dim = 0 if num else math.prod(self.actions.shape)
        self.spec = Spec(shape, dtype, num, dim, masked=self.mask.masked, parts=parts, choices=choices, flags=are_flags(space, form))
        self._dtype = None if isinstance(action_space, spaces.Discrete) else action_space.dtype

    def row(self, obs: object, info: GymInfo, terminated: bool) -> np.ndarray:
        """(*obs): the observation as agents see it.

        Raises:
            ValueError: it is not one of its space, or its mask is missing or wrong.
        """
        obs, mask = self.mask.divided(obs, info)
        try:
            row = self.convert(obs)
        except ValueError as error:
            raise ValueError(f"{error}; its observation_space says {brief(self.space)}") from error
        if mask is None:
            return row
        sizes = self.spec.choices or (self.spec.num_actions,)
        return np.concatenate([row, column(mask, sizes, terminated).astype(row.dtype)])

    def rows(self, obs: object, mask: np.ndarray | None) -> tuple[np.ndarray, bool] | None:
        """Raw observations as agents see them.

        Args:
            obs: one observation of the environment's space, or a list or an array of several.
            mask: (A,) or (M, A), of an environment that tells its masks in `info`.

        Returns:
            Rows (M, *obs), and whether it was one; None if `obs` holds anything else.

        Raises:
            ValueError: an observation has the wrong type, or a mask is missing or wrong.
        """
        told = isinstance(self.mask, ToldMask)
        if mask is not None and not told:
            return None
        if self.hidden:
            several = [whole(self.space, each, self.hidden) for each in (obs if isinstance(obs, list) else [obs])]
            obs = several if isinstance(obs, list) else several[0]
        if self._raw(obs):
            several, masks, single = [obs], [mask], True
        elif isinstance(obs, (list, np.ndarray)) and len(obs) and all(map(self._raw, obs)):
            several, masks, single = list(obs), [None] * len(obs) if mask is None else list(mask), False
        else:
            return None
        if told and mask is None:
            raise ValueError(f"mask is missing: the environment tells its masks in info, act(obs, mask=info[{KEY!r}])")
        if len(masks) != len(several) or any(own is not None and np.ndim(own) == 0 for own in masks):
            raise ValueError(f"mask must be ({len(several)}, A), a row for each observation, not {mask!r:.100}")
        return np.stack([self.row(each, {KEY: own}, False) for each, own in zip(several, masks)]), single

    def _raw(self, obs: Any) -> bool:
        try:
            return has_form(self.space, obs)
        except ValueError:  # numbers of no one shape
            return False

    def action(self, action: Any) -> Any:
        """An action of `actions.to_env`, or several, in the type of the space."""
        return action if self._dtype is None else action.astype(self._dtype, copy=False)
