"""Comparison of an exported program with its agent, observation by observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deeprl.learning.values.masked import INVALID
from deeprl.packing import pack
from deeprl.tools.export.programs import Runner
from deeprl.types import Spec

TOLERANCE = 1e-5
"""Largest difference for numbers of size 1: some 80 units in the last place of float32, as two orders of the same sums may differ"""
SCALES = (1.0, 10.0, 100.0, 1000.0)
"""Standard deviations of made-up vectors"""


class Differs(ValueError):
    """An exported program takes other actions than the agent."""


@dataclass(frozen=True)
class Agreement:
    """Result of a comparison.

    Attributes:
        observations: number of them.
        equal: share of observations with exactly the agent's action.
        largest: largest difference. Continuous actions: in units of the half-range of the action. Discrete: the agent's best value minus
            its value of the program's action, relative to the largest |value| of the observation, if that is above 1.
        allowed: what rounding explains there.
    """

    observations: int
    equal: float
    largest: float
    allowed: float


def made_up(spec: Spec, each: int = 64, seed: int = 0) -> np.ndarray:
    """Observations that no environment may give, (M, *obs): zeros, and normal numbers of several sizes; of images black, white, the darkest
    grey, and noise."""
    generator = np.random.default_rng(seed)
    if spec.parts:
        plain = [spec._replace(obs_shape=part.shape, obs_dtype=part.dtype, parts=(), masked=False) for part in spec.parts]
        values = [made_up(one, each, seed + i) for i, one in enumerate(plain)]
        least = min(len(value) for value in values)
        return pack(spec, [value[:least] for value in values], np.ones((least, spec.mask_size), np.uint8) if spec.masked else None)
    shape = (each, *spec.obs_shape)
    if spec.obs_dtype == torch.uint8:
        flat = [np.full((1, *spec.obs_shape), pixel, np.uint8) for pixel in (0, 1, 255)]
        return np.concatenate([*flat, generator.integers(0, 2, shape, np.uint8), generator.integers(0, 256, shape, np.uint8)])
    noise = [scale * generator.standard_normal(shape, np.float32) for scale in SCALES]
    rows = np.concatenate([np.zeros((1, *spec.obs_shape), np.float32), *noise]).astype(np.float32)
    if spec.masked:
        rows[:, -spec.mask_size :] = 1.0
    return rows


def agreement(
    run: Runner,
    inputs: Sequence[np.ndarray],
    expected: np.ndarray,
    distance: Callable[[np.ndarray], np.ndarray],
    states: Sequence[np.ndarray] = (),
    pixel: float = 1 / 255,
) -> Agreement:
    """Compare a program with the agent. The first observation goes through the program alone, because M = 1 is a special case of many
    operators.

    An observation whose largest component exceeds 1, as a network takes it, may cause a difference of `TOLERANCE` times that component,
    because rounding errors of a product grow with its factors. So may a state with what is added to it.

    Args:
        inputs: observations, (M, *obs), or their parts.
        expected: the agent's actions, (M, ...).
        distance: actions -> their differences from the agent's, (M,), in units in which 1 is large.
        states: with a core its state before the observations and after them, (M, S) each.
        pixel: factor of the bytes of an image in a network.

    Raises:
        Differs: an action has the wrong shape or type, or differs by more than the tolerance; or a new state does.
    """
    answers = [run(*(each[rows] for each in (*inputs, *states[:1]))) for rows in (slice(1), slice(1, None))]
    parts = [answer[0] for answer in answers]
    for actions, wanted in zip(parts, (expected[:1], expected[1:])):
        if (actions.shape, actions.dtype) != (wanted.shape, wanted.dtype):
            raise Differs(f"its actions are {actions.dtype} of shape {actions.shape}, not {wanted.dtype} of shape {wanted.shape}")
    found = np.concatenate(parts)
    difference = distance(found)  # (M,)
    allowed = TOLERANCE * np.max([size_of(each, pixel) for each in inputs], 0)
    if states:
        moved = np.abs(np.concatenate([answer[1] for answer in answers]) - states[1]).max(1)
        refuse("new states", moved, np.maximum(allowed, TOLERANCE * size_of(states[1])))
    refuse("actions", difference, allowed)
    same = (found == expected).reshape(len(found), -1).all(1)
    worst = difference.argmax()
    return Agreement(len(found), float(same.mean()), float(difference[worst]), float(allowed[worst]))


def refuse(what: str, difference: np.ndarray, allowed: np.ndarray) -> None:
    """
    Args:
        difference, allowed: (M,).

    Raises:
        Differs: a difference is larger than allowed, or no number.
    """
    wrong = ~(difference <= allowed)  # NaN is wrong
    if wrong.any():
        worst = np.where(wrong, np.nan_to_num(difference, nan=np.inf), -1.0).argmax()
        raise Differs(
            f"{wrong.sum()} of {len(wrong)} {what} differ from the agent's, at most by {difference[worst]:.3g}, "
            f"where rounding explains {allowed[worst]:.3g}"
        )


def size_of(rows: np.ndarray, pixel: float = 1 / 255) -> np.ndarray:
    """Largest component of each row (M, ...), of bytes times `pixel`, at least 1, (M,) float64."""
    largest = np.abs(rows.reshape(len(rows), -1).astype(np.float64)).max(1)
    return np.maximum(largest * (pixel if rows.dtype == np.uint8 else 1.0), 1.0)


def of_values(values: np.ndarray, first: int | np.ndarray, sizes: tuple[int, ...] = ()) -> Callable[[np.ndarray], np.ndarray]:
    """Distance of discrete actions: what the agent loses by them, relative to the size of its values.

    Args:
        values: (M, A), the agent's.
        first, sizes: `start` and `sizes` of the environment's `deeprl.envs.vector.actions.Actions`.
    """
    values, sizes = values.astype(np.float64), sizes or values.shape[1:]
    size = np.maximum(np.abs(np.where(values > INVALID / 2, values, 0.0)).max(1), 1.0)  # of valid actions alone

    def distance(actions: np.ndarray) -> np.ndarray:
        parts = (actions - first).reshape(len(values), -1)  # (M, components)
        known = ((parts >= 0) & (parts < sizes)).all(1)
        taken = values[np.arange(len(values)), np.ravel_multi_index(tuple(parts.T), sizes, mode="clip")]
        return np.where(known, (values.max(1) - taken) / size, np.inf)

    return distance


def of_actions(expected: np.ndarray, reach: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Distance of continuous actions, (M, *shape): the largest over components, in units of the half-ranges `reach`, (*shape)."""
    unit = np.where(reach > 0, reach, 1.0)  # a component whose bounds are equal has no range
    return lambda actions: (np.abs(actions.astype(np.float64) - expected) / unit).reshape(len(expected), -1).max(1)
