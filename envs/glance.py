"""A glance at an environment that others wrote, before its run: what its author may not have meant, and training would not show.

Two episodes begin with the same seed and take the same actions. This costs a few steps, and ends after a second, so that a slow
environment does not delay its run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from deeprl.system import generators
from deeprl.system.terminal import say
from deeprl.types import Goals

from .answers import flag, number
from .vector.actions import valid_choices
from .vector.backend import Game

TICKS = 8
"""Steps of each of the two"""
SECONDS = 1.0
PATIENCE, LOOK = 1000, 0.05
"""Most steps, and seconds, in which an end is waited for"""
ENOUGH = 50
"""Least steps after which it is told that no episode ended, for which a slow environment has `SECONDS`"""
FAR = 10.0
"""Widths of its space from which an observation counts as outside, because many environments leave theirs by a little"""


class Begun(NamedTuple):
    """The first ticks after a reset with a seed."""

    rows: list[np.ndarray]
    """Observations, the first ones of further episodes left out"""
    rest: list[tuple[float, bool, bool]]
    """Reward, terminated, ended of each tick"""


def tell(game: Game, limited: str) -> None:
    """Lines on stderr about what looks wrong. The game is reset and stepped.

    Args:
        limited: how it gets a time limit.
    """
    for doubt in doubts(game):
        say(f"this environment looks wrong: {doubt}")
    if fact := endless(game, limited):
        say(fact)


def doubts(game: Game) -> Iterator[str]:
    """Sentences about an environment, which is reset and stepped. Whatever it raises is left to the run, which says it better."""
    if game.spec.num_actions == 1:
        yield "it has a single action, so that there is nothing to learn: is action_space=Discrete(1) meant?"
    with generators.kept(), contextlib.suppress(Exception):  # it may draw from those of the process, from which a run's numbers follow
        end = time.monotonic() + SECONDS
        first = begun(game, end)
        if first.rest and all(ended for *_, ended in first.rest):
            yield f"each of its first {len(first.rest)} episodes ended at its first step: are terminated and truncated meant?"
        yield from outside(game, first.rows)
        yield from not_finite(first)
        if time.monotonic() > end:
            return
        second = begun(game, end)
        unlike = [not np.array_equal(one, two, equal_nan=True) for one, two in zip(first.rows, second.rows)]
        rest = [not np.array_equal(one, two, equal_nan=True) for one, two in zip(first.rest, second.rest)]
        unlike[1:] = [rows or others for rows, others in zip(unlike[1:], rest)]
        if any(unlike):
            where = f"at step {unlike.index(True)}" if unlike.index(True) else "in their first observation"
            yield (
                f"two of its episodes with one seed and the same actions differ {where}, so that a run cannot be repeated or resumed "
                "exactly: let reset(seed=...) seed all that it draws from, and clear all that it keeps"
            )


def endless(game: Game, limited: str) -> str:
    """A sentence about an environment without a time limit, of which no episode ended in some steps of random actions; else empty.

    Args:
        limited: how it gets a time limit.
    """
    if game.limit is not None:
        return ""
    with generators.kept(), contextlib.suppress(Exception):
        now = time.monotonic()
        played = begun(game, now + LOOK, PATIENCE, (ENOUGH, now + SECONDS))
        if played.rest and not any(ended for *_, ended in played.rest):
            if over := sum(terminated for _, terminated, _ in played.rest):
                return (
                    f"this environment looks wrong: {over:,} of {len(played.rest):,} steps of random actions terminated, and no episode "
                    "ended: the last answer of step says that the episode ended, terminated or truncated"
                )
            if len(played.rest) < ENOUGH:
                return ""
            steps = f"no episode ended in {len(played.rest):,} steps of random actions"
            return f"no time limit is known, and {steps}: one of an evaluation may be cut off after 10,000 steps or more: {limited}"
    return ""


def require_judged(game: Game, goals: Goals) -> None:
    """Compare the rewards and terminations of a few steps with those of `goals`. A game that raises is left to the run.

    Raises:
        ValueError: they differ, so that a batch would hold rewards of two kinds.
    """
    with generators.kept():
        try:
            found = begun(game, time.monotonic() + SECONDS)
        except Exception:
            return
    if not found.rest:
        return
    after, (reward, terminated, _) = np.stack(found.rows[1:]), zip(*found.rest)
    pairs = {"reward": (goals.reward, reward), **({"termination": (goals.terminated, terminated)} if goals.terminated else {})}
    for what, (judge, played) in pairs.items():
        given = judge(after[:, goals.achieved], after[:, goals.desired])
        unlike = ~np.isclose(given, played, rtol=1e-3, atol=1e-5)
        if unlike.any():
            step = int(unlike.argmax())
            raise ValueError(
                f"the {what} of its step {step + 1} was {played[step]:g}, and for the goals of that step is {given[step]:g}: let the "
                f"{what} follow from the goals alone, in all its layers ({', '.join(game.layers())})"
            )


def begun(game: Game, end: float, ticks: int = TICKS, least: tuple[int, float] = (0, 0.0)) -> Begun:
    """
    Args:
        end: time after which no further step is made.
        ticks: steps, at most.
        least: steps that are made after `end` too, until a later time.
    """
    random, spec = np.random.default_rng(0), game.spec
    row = game.reset(1000)
    rows, rest = [row.copy()], list[tuple[float, bool, bool]]()
    for _ in range(ticks):
        if time.monotonic() > (least[1] if len(rest) < least[0] else end):
            break
        if spec.choices and spec.masked:
            action = valid_choices(row, spec.choices, random.random())[None]
        elif spec.num_actions:
            valid = np.flatnonzero(row[-spec.num_actions :]) if spec.masked else np.arange(spec.num_actions)
            action = np.array([random.choice(valid)])
        else:
            action = random.uniform(-1, 1, (1, spec.action_dim)).astype(np.float32)
        row, reward, terminated, ended = game.step(game.actions.to_env(action)[0])
        rows.append(row.copy())
        rest.append((number(reward), flag("terminated", terminated), flag("ended", ended)))
        if rest[-1][-1]:
            row = game.reset(None)
    return Begun(rows, rest)


def not_finite(played: Begun) -> Iterator[str]:
    """The first reward, and the first observation, that is NaN or infinite."""
    for step, (reward, *_) in enumerate(played.rest, 1):
        if not np.isfinite(reward):
            yield f"its reward was {reward} at step {step}: let step() return a finite number"
            break
    for step, row in enumerate(played.rows):
        if not np.isfinite(row).all():
            where, value = f"at step {step}" if step else "after reset", row[~np.isfinite(row)][0]
            yield f"its observation holds {value} {where}: let reset() and step() return finite numbers"
            break


def outside(game: Game, rows: list[np.ndarray]) -> Iterator[str]:
    """Observations of a bounded Box that lie far outside."""
    space = game.conversion.space if game.conversion else None
    if not (isinstance(space, spaces.Box) and space.is_bounded() and np.issubdtype(space.dtype, np.floating)):
        return
    low, high = space.low.ravel(), space.high.ravel()
    values = np.stack(rows).reshape(len(rows), -1)
    if values.shape[1] != low.size:
        return
    beyond = np.maximum(values - high, low - values) / np.maximum(high - low, np.finfo(np.float32).tiny)
    tick, entry = np.unravel_index(beyond.argmax(), beyond.shape)
    if beyond[tick, entry] > FAR:
        yield (
            f"its observations leave their space: entry {entry} was {values[tick, entry]:.3g}, and observation_space says "
            f"{low[entry]:.3g} to {high[entry]:.3g}"
        )
