"""From stored transitions to a data set of Minari, which is written by Minari itself, and from a data set to a folder of its rows."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from deeprl.errors import ConfigError, MachineError
from deeprl.packing import unpacked
from deeprl.running.collect.data_folder import FORMAT, described
from deeprl.running.collect.minari import DataSet, root, whole
from deeprl.running.collect.minari import described as described_set
from deeprl.running.collect.stored import Stored
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import DATA, folder_of, step_of
from deeprl.system.files import create, full, make_folder, passing, sync_file, sync_folder
from deeprl.system.temporary import temporary
from deeprl.system.variables import variable
from deeprl.tools.data.episodes import StoredEpisode
from deeprl.tools.data.hdf5_writing import written_at_once
from deeprl.types import ObsPart, Rows, Spec


def space_of(spec: Spec, actions: Any) -> tuple[spaces.Space, spaces.Space]:
    """Spaces of observations, as agents see them, and of the environment's own actions.

    Args:
        actions: the environment's `deeprl.envs.vector.actions.Actions`.

    Raises:
        ConfigError: observations are images of floats or have action masks, or actions are components.
    """
    parts = spec.parts or (ObsPart("", spec.obs_shape, spec.obs_dtype, len(spec.obs_shape) > 1),)
    if spec.masked or spec.choices or any(part.image and part.dtype != torch.uint8 for part in parts):
        raise ConfigError(
            f"observations {spec.obs_shape} are images of floats or have action masks, or actions are components: nothing of this can be "
            "converted."
        )
    boxes: dict[str, spaces.Space] = {
        part.name: spaces.Box(0, 255, part.shape, np.uint8) if part.image else unbounded(part.shape) for part in parts
    }
    seen = spaces.Dict(boxes) if spec.parts else boxes[""]
    if actions.num:
        return seen, spaces.Discrete(actions.num, start=first_of(actions))
    return seen, spaces.Box(actions.low, actions.high, dtype=np.float32)


def unbounded(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def observations_of(rows: Rows, spec: Spec) -> np.ndarray | dict[str, np.ndarray]:
    """(T + 1, *obs) of an episode, of several parts by name."""
    obs = np.concatenate([rows.obs, rows.next_obs[-1:]])
    return dict(zip([part.name for part in spec.parts], unpacked(spec, obs)[0])) if spec.parts else obs


def first_of(actions: Any) -> int:
    """The first of the discrete actions in the data set: the environment's own, and 0 of combinations of components, which are numbered."""
    return 0 if actions.sizes else int(actions.start)


def in_own_units(action: np.ndarray, actions: Any) -> np.ndarray:
    """Actions of an agent, (T,) or (T, D), as the data set has them."""
    if actions.num:
        return action + first_of(actions)
    return actions.to_env(action).reshape(len(action), -1).astype(np.float32)


def write(name: str, found: Sequence[StoredEpisode], spec: Spec, actions: Any, **about: object) -> int:
    """Write a data set into Minari's folder of data sets. Returns the number of episodes.

    Args:
        name: such as reach/demonstrations-v0.
        found: episodes. Those without their first steps are left out, and one that goes on is truncated at its last step.
        about: for the metadata, see `minari.create_dataset_from_buffers`.

    Raises:
        ConfigError: Minari is missing, refuses the name, or there is nothing to write; there is such a data set, or its folder cannot be
            written.
        MachineError: the disk is full.
    """
    if not re.search(r"-v\d+$", name):  # Minari fails on it, in a conversion of None
        raise ConfigError(f"{name} is no name of a data set of Minari, because it ends without a version: {name}-v0")
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ImportError as error:
        raise ConfigError(f"writing a data set needs Minari: pip install 'deeprl[minari]' ({error}).") from error
    observation_space, action_space = space_of(spec, actions)
    kept = [each for each in found if each.whole]
    if not kept:
        raise ConfigError("no episode has its first step, so that nothing can be written: take an earlier checkpoint, or a larger replay.")
    if any((each.rows.terminated & ~each.rows.ended).any() for each in kept):
        raise ConfigError("some terminations do not end their episode (lost lives), for which a data set of Minari has no place.")
    buffers = []
    for number, each in enumerate(kept):
        rows, cut = each.rows, not each.terminated
        buffers.append(EpisodeBuffer(
            id=number,
            observations=observations_of(rows, spec),
            actions=in_own_units(rows.action, actions),
            rewards=rows.reward.astype(np.float64),
            terminations=rows.terminated,
            truncations=np.arange(len(rows.reward)) == (len(rows.reward) - 1 if cut else -1),
        ))  # fmt: skip
    require_new_set(name)
    try:
        root().mkdir(parents=True, exist_ok=True)
        with temporary(root()) as made:
            with (
                variable("MINARI_DATASETS_PATH", str(made)),
                written_at_once(),
                warnings.catch_warnings(action="ignore"),
            ):  # of fields of the metadata without a value
                minari.create_dataset_from_buffers(
                    name, buffers, action_space=action_space, observation_space=observation_space, data_format="hdf5",
                    jpeg_encoding=False, **about,
                )  # fmt: skip
            sync_file(made / name / "data" / "metadata.json")
            move_set(made, name)
    except OSError as error:
        raise unwritable(root() / name, error, "another folder by MINARI_DATASETS_PATH") from error
    except (ValueError, AssertionError) as error:
        raise ConfigError(f"Minari refuses {name}: {error}") from error
    return len(kept)


def require_new_set(name: str) -> None:
    """
    Raises:
        ConfigError: there is such a data set, or what an interrupted command has left of one.
    """
    folder = root() / name
    if not os.path.lexists(folder):
        return
    try:
        whole(described_set(str(folder)).metadata, "total_episodes")
    except (ValueError, OSError) as error:
        raise ConfigError(f"{folder} is in the way, and is no whole data set ({error}): remove it, or take another name.") from error
    raise ConfigError(f"minari:{name} exists, in {folder}: take another name or version, or remove it.")


def move_set(made: Path, name: str) -> None:
    """Give a data set that is whole its place, with what Minari keeps in the folders above it (namespaces)."""
    place = root()
    for part in Path(name).parts[:-1]:
        made, place = made / part, place / part
        make_folder(place)
        for path in made.iterdir():
            if path.is_file() and not os.path.lexists(place / path.name):
                os.rename(path, place / path.name)
    os.rename(made / Path(name).name, place / Path(name).name)
    sync_folder(place)


def unwritable(folder: Path, error: OSError, instead: str) -> Exception:
    """The error of a folder that cannot be written, of which nothing is left."""
    said = f"{folder} cannot be written: {error.strerror or error}. "
    if full(error) or passing(error):
        return MachineError(f"{said}Make space, or name {instead}; nothing is left of it.")
    return ConfigError(f"{said}Name {instead}; nothing is left of it.")


def write_folder(folder: Path, found: DataSet, stored: Stored) -> None:
    """Write a data set as `deeprl.running.collect.data_folder` has it; on an error nothing of it stays.

    Args:
        stored: its rows, which are checked already.

    Raises:
        ConfigError: `folder` exists, or cannot be written, or has a name that `replay.data` reads otherwise.
        MachineError: the disk is full, or does not answer.
    """
    name = str(folder)
    if name.startswith("minari:") or step_of(name):
        read = "data set of Minari" if name.startswith("minari:") else f"checkpoint of {folder_of(name)}"
        raise ConfigError(f"replay.data={name} would read the {read}: name another folder.")
    if os.path.lexists(folder):
        raise ConfigError(f"{folder} exists: name another folder, or remove it.")
    about = {
        "format": FORMAT, "dataset_id": found.name, "rows": stored.capacity,
        **{name: found.metadata[name] for name in ("observation_space", "action_space")},
    }  # fmt: skip
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary(folder.parent) as made:
            new = made / "data"
            new.mkdir()
            Checkpoints(new).save(0, {"replay": stored.ring.state_dict()}, stored.ring.written([0]))
            create(new / DATA, json.dumps(about).encode())
            described(new)  # otherwise it is written, and never read
            os.rename(new, folder)
    except OSError as error:
        raise unwritable(folder, error, "another folder") from error
    sync_folder(folder.parent)
