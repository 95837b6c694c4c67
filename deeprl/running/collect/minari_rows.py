"""Episodes of a data set of Minari as rows of a replay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from deeprl.replay.layout import Layout, layout
from deeprl.running.collect.hdf5 import Reader, require_room
from deeprl.running.collect.minari import DataSet, bounds, numbers, whole
from deeprl.running.collect.minari_observations import Observed, observed_by
from deeprl.system.files import opened, said
from deeprl.system.strict_json import JsonObject
from deeprl.types import Spec


def as_replay(found: DataSet, spec: Spec) -> tuple[JsonObject, dict[str, torch.Tensor]]:
    """State and rows of a ring of one environment, as `deeprl.replay.ring.Ring` loads them.

    Args:
        spec: of the environments of the run.

    Raises:
        ValueError: the data are not of this environment.
    """
    at, rows, images, steps, held = layout(spec, 1, 1, 1), [], [], 0, 0
    for each in episodes(found, observed_by(found, spec), math.prod(spec.obs_shape) * spec.obs_dtype.itemsize):
        count = len(each.rewards)
        block = np.zeros((count + 1, at.width), np.float32)
        if at.image:
            images.append(newest(each.observations, at))
            held += images[-1].nbytes
        else:
            block[:, : at.size] = each.observations
        block[:, at.age] = np.minimum(np.arange(count + 1), at.front)
        block[:count, at.action : at.reward] = unit(each.actions, found) if spec.action_dim else each.actions[:, None]
        block[:count, at.reward] = each.rewards
        block[:count, [at.continues, at.probability, at.real]] = 1.0
        block[count - 1, at.continues], block[count - 1, at.ended] = not each.terminated, 1.0
        rows.append(block)
        steps, held = steps + count, held + block.nbytes
        require_room(found.name, held)
    stored = np.concatenate(rows)
    state = {
        "ticks": [0, steps], "count": np.array([len(stored)]), "oldest": np.array([0]), "fresh": np.array([True]),
        "pending": np.zeros((1, at.width), np.float32),
    }  # fmt: skip
    segment = {"rows": stored, "start": np.array([0]), "stop": np.array([len(stored)])}
    if at.image:
        segment["frames"], state["pending_frames"] = np.concatenate(images), np.zeros((1, at.size), np.uint8)
    return state, {name: torch.from_numpy(array) for name, array in segment.items()}


def newest(images: np.ndarray, at: Layout) -> np.ndarray:
    """The newest frames of each row of an episode, (rows, numbers) -> (rows, size).

    Raises:
        ValueError: an older frame is not that of the row before, or one before the episode is not of zeros.
    """
    if at.unstacked(np.concatenate([np.zeros_like(images[:1]), images[:-1]]), images):
        raise ValueError(f"its images are no stacks of the {at.stack} last frames, with zeros before an episode, as this run has them")
    return at.frame(images)


def unit(given: np.ndarray, found: DataSet) -> np.ndarray:
    """Actions (T, D) within their bounds -> in [-1, 1], the inverse of `deeprl.envs.vector.actions.Actions.to_env`."""
    low, high = bounds(found.action_space)
    return np.clip((given - (high + low) / 2) / ((high - low) / 2), -1.0, 1.0)


def scaled(found: DataSet) -> str:
    """What `unit` takes actions to be, for a reader whose environment may have others."""
    low, high = (np.unique(bound) for bound in bounds(found.action_space))
    if len(low) > 1 or len(high) > 1:
        return "; its actions are scaled from the bounds of the data set, which differ between them, to those of the environment"
    return f"; its actions, {low[0]:g} to {high[0]:g}, are scaled to the bounds of the environment"


class RecordedEpisode(NamedTuple):
    """One episode of T steps, as Minari has it."""

    observations: np.ndarray
    """(T + 1, obs) float32, flattened; of images, and of parts with one, (T + 1, bytes) uint8"""
    actions: np.ndarray
    """(T,) int64 from 0, or (T, D) float32 in the environment's own units"""
    rewards: np.ndarray
    """(T,) float32"""
    terminated: bool
    truncated: bool


def episodes(found: DataSet, observed: Observed, size: int) -> Iterator[RecordedEpisode]:
    """All episodes of a data set, in their order.

    Args:
        observed: reads their observations, of `size` bytes each.

    Raises:
        ValueError: h5py is missing, or the file is damaged, refused, or does not fit its metadata.
        OSError: it is a link, or cannot be read.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError("reading a data set needs h5py: pip install 'deeprl[minari]'") from error
    number, spec = episodes_of(found), found.spec
    path = found.folder / "data" / "main_data.hdf5"
    try:
        opening = opened(path)
    except FileNotFoundError:
        raise ValueError(f"{found.folder} has no data/main_data.hdf5, which holds its episodes: download or copy it again") from None
    with opening as handle:
        try:
            with h5py.File(handle, "r") as file:
                for index in range(number):
                    yield episode(Reader(file, h5py, f"episode_{index}"), found, spec, observed, size)
        except (KeyError, RuntimeError, TypeError, AttributeError, OSError) as error:  # what h5py raises for damaged content
            raise ValueError(f"{path} is damaged: {said(error)}") from error


def episodes_of(found: DataSet) -> int:
    """
    Raises:
        ValueError: there is none, or the metadata do not say.
    """
    if found.metadata.get("total_episodes") == 0:
        raise ValueError(f"{found.folder} holds no finished episode, because its writing was interrupted: remove it, and make it again")
    return whole(found.metadata, "total_episodes")


def episode(read: Reader, found: DataSet, spec: Spec, observed: Observed, size: int) -> RecordedEpisode:
    rewards = read("rewards", None)
    steps = len(rewards)
    flags = [read(name, steps) for name in ("terminations", "truncations")]
    if rewards.ndim != 1 or any(each.shape != (steps,) or not np.isin(each, (0, 1)).all() for each in flags):
        shapes = [each.shape for each in (rewards, *flags)]
        raise ValueError(f"{read.path} has rewards, terminations and truncations of shapes {shapes}, or other flags than 0 and 1")
    ends = (flags[0] + flags[1]) > 0
    if ends[:-1].any():
        raise ValueError(f"{read.path} ends at its step {int(ends.argmax())}, and goes on to {steps}")
    require_room(f"{read.path}/observations", size * (steps + 1))  # a number of n is n numbers
    given = actions(read, found, spec, steps)
    return RecordedEpisode(observed(read, steps + 1), given, rewards.astype(np.float32), bool(flags[0][-1]), bool(flags[1][-1]))


def actions(read: Reader, found: DataSet, spec: Spec, steps: int) -> np.ndarray:
    stored, space = read("actions", steps), found.action_space
    if spec.num_actions:
        return numbers(f"{read.path}/actions", stored, space)
    if stored.size != steps * spec.action_dim:
        raise ValueError(f"{read.path}/actions have shape {stored.shape}, not ({steps}, {spec.action_dim})")
    given, (low, high) = stored.reshape(steps, -1).astype(np.float32), bounds(space)
    slack = 1e-4 * (high - low)
    if not ((given >= low - slack) & (given <= high + slack)).all():
        raise ValueError(f"{read.path}/actions leave the bounds of their space")
    return given
