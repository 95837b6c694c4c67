"""Goals of a Gymnasium environment: an observation is a Dict of observation, achieved_goal and desired_goal, and `compute_reward` says what
a goal earns, as in Gymnasium-Robotics (https://robotics.farama.org/content/multi-goal_api/)."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from deeprl.system.terminal import one_line
from deeprl.types import Goals

PARTS = ("observation", "achieved_goal", "desired_goal")


def goals_of(env: gymnasium.Env) -> Goals:
    """
    Raises:
        ValueError: its observations have another form, or its rewards cannot be computed from goals alone, or a wrapper changes them.
    """
    space, inner = env.observation_space, cast(Any, env.unwrapped)
    if not isinstance(space, spaces.Dict) or not {*PARTS} <= space.keys():
        has = f" of {', '.join(map(one_line, space))}" if isinstance(space, spaces.Dict) else ""
        raise ValueError(f"its observations are {type(space).__name__}{has}, not a Dict of {', '.join(PARTS)}")
    goal = space["achieved_goal"]
    if not isinstance(goal, spaces.Box | spaces.MultiBinary) or space["desired_goal"].shape != goal.shape:
        raise ValueError(f"its goals are {goal} and {space['desired_goal']}, not two Boxes of one shape")
    if not callable(getattr(inner, "compute_reward", None)):
        raise ValueError("it has no method compute_reward(achieved_goal, desired_goal, info)")
    places, start = {}, 0
    for name, part in space.items():  # in the order in which `gymnasium.spaces.flatten` joins them
        size = spaces.flatdim(part)
        places[name] = slice(start, start + size)
        start += size
    reward = partial(judged, inner.compute_reward, goal, np.float32)
    ends = partial(judged, inner.compute_terminated, goal, np.bool_) if callable(getattr(inner, "compute_terminated", None)) else None
    found = Goals(places["achieved_goal"], places["desired_goal"], reward, ends)
    probe = np.zeros((3, spaces.flatdim(goal)), np.float32)
    try:
        for judge in (reward, ends) if ends else (reward,):
            judge(probe, probe + 1)
    except Exception as error:
        raise ValueError(f"its rewards cannot be computed from goals alone, with an empty info: {type(error).__name__}: {error}") from error
    require_unchanged(env, [*reward(probe, probe), *reward(probe, probe + 1)])
    return found


def require_unchanged(env: gymnasium.Env, rewards: list[float]) -> None:
    """Try the wrappers whose change can be asked for without a step: a reward of success may be too rare to be met in a few.

    Args:
        rewards: of goals that are achieved, and of others.

    Raises:
        ValueError: one changes rewards or goals, which `compute_reward` does not know.
    """
    layer: Any = env
    while layer is not env.unwrapped:
        changed = False
        with contextlib.suppress(Exception):  # it may need a step before
            if isinstance(layer, gymnasium.RewardWrapper):
                changed = not np.allclose([float(layer.reward(value)) for value in rewards], rewards)
            elif isinstance(layer, gymnasium.ObservationWrapper):
                space = copy.deepcopy(layer.env.observation_space)
                space.seed(0)
                given = space.sample()
                before = [given[part].copy() for part in PARTS[1:]]
                after = layer.observation(given)
                changed = not all(np.allclose(after[part], value) for part, value in zip(PARTS[1:], before))
        if changed:
            raise ValueError(
                f"its wrapper {type(layer).__name__} changes rewards or goals, which compute_reward does not know: leave it out"
            )
        layer = layer.env


def judged(
    function: Callable[..., Any], goal: spaces.Box | spaces.MultiBinary, kind: Any, achieved: np.ndarray, desired: np.ndarray
) -> np.ndarray:
    """Answers (B,) of `compute_reward` or `compute_terminated` for goals (B, G): at once, or one by one where that is not one each, because
    methods are written for one goal too.

    Raises:
        ValueError: an answer is no number, or not finite.
    """
    pairs = [each.reshape(len(each), *goal.shape).astype(goal.dtype, copy=False) for each in (achieved, desired)]
    try:
        found = np.asarray(function(*pairs, {}))
    except (ValueError, TypeError, IndexError):  # such as the truth of an array
        found = np.empty(0)
    if found.shape != (len(achieved),):
        found = np.array([function(one, other, {}) for one, other in zip(pairs[0], pairs[1])]).reshape(len(achieved))
    found = found.astype(kind)
    if not np.isfinite(found).all():
        raise ValueError(f"{getattr(function, '__name__', function)} gives {found[~np.isfinite(found)][0]}")
    return found
