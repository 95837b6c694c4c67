"""Where stored transitions are: what a name says, a run folder or a data set, as the replay in a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from deeprl.errors import CheckpointError, DataError, RunFolderError, UnreadableError
from deeprl.packing import check_kept
from deeprl.replay.layout import Layout
from deeprl.running.collect import data_folder, minari
from deeprl.running.collect.minari_rows import as_replay, scaled
from deeprl.running.config.rules import get
from deeprl.running.runs.checkpoint import DAMAGE
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import parted
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training.restoring import ranks_of
from deeprl.system.files import machine_fault, said
from deeprl.system.terminal import counted
from deeprl.types import Spec, State


class Found(NamedTuple):
    """The replay in a checkpoint of a run."""

    step: int | None
    """None: of a data set, which has none"""
    num: int
    """Environments that the run stepped"""
    capacity: int
    """Rows of all environments, as many as there are, if none was overwritten: a run may have had room for many more"""
    state: State
    segments: Iterable[dict[str, Tensor]]
    env: str
    """Name of its environment, or of the data set"""
    remark: str = ""
    """What was done to its numbers"""

    @property
    def columns(self) -> list[int] | None:
        """`Layout.columns` of its rows; None: it does not say, and has no states of a core."""
        found = self.state.get("columns")
        whole = isinstance(found, list) and len(found) == 5 and all(type(each) is int and each >= 0 for each in found)
        return found if whole else None

    @property
    def states(self) -> int:
        """S, numbers of a core's state at the end of each row"""
        return 0 if self.columns is None else self.columns[3]

    def fits(self, at: Layout) -> bool:
        """Whether its rows, without the states, are of the spaces of another layout. Stacks of fewer frames can be made of them."""
        width = np.shape(self.state.get("pending", ()))[-1:] == (at.state + self.states,)
        return width and (self.columns is None or (self.columns[:3] == at.columns[:3] and self.columns[4] >= at.stack))

    def without_states(self) -> Found:
        """The same rows without the states of a core, which are their last columns."""
        if not self.states:
            return self
        state = {**self.state, "pending": np.asarray(self.state["pending"])[..., : -self.states]}
        return self._replace(state=state, segments=cut(self.segments, self.states))


def cut(segments: Iterable[dict[str, Tensor]], columns: int) -> Iterator[dict[str, Tensor]]:
    """The segments without the last columns of their rows."""
    return ({**segment, "rows": segment["rows"][:, :-columns]} for segment in segments)


FEW = 1000
"""Rows of each environment for which there is room in any case, so that what needs more rows than there are says so itself"""
ARRAYS = (".npz", ".npy", ".hdf5", ".h5", ".csv", ".pkl", ".parquet", ".pt")
"""Files in which people keep transitions"""


def shown(columns: list[int] | None, width: tuple[int, ...]) -> str:
    """What the rows of data are made of."""
    if columns is None:
        return f"{', '.join(map(str, width)) or 'no'} numbers each"
    size, action, actions, _, frames = columns
    stack = f"{frames} frames of " if frames > 1 else ""
    of_actions = counted(actions, "choice") if actions else counted(action, "number")
    return f"observations of {stack}{counted(size, 'number')}, and actions of {of_actions}"


def find(data: str, spec: Spec) -> Found:
    """
    Args:
        data: a run folder, with "@best", "@last" or "@STEP" at its end for a checkpoint; the default is the last. A damaged one is refused,
            and none taken in its place, because a run would learn from fewer transitions. Or a data set of Minari, its folder or
            minari:NAME, or one as `data_folder` has it.
        spec: of the environments of the run that learns.

    Raises:
        DataError: it is not there, or is damaged.
        ValueError: it is no name, or its checkpoint holds no transitions, or it is of other spaces.
    """
    if not isinstance(data, str) or not data.strip():
        raise ValueError(
            f"data={data!r} is no name: take a run folder, such as replay.data=runs/player (./5 where its name is a number), or a data "
            "set, minari:NAME"
        )
    if minari.is_data_set(data):
        try:
            found = minari.described(data)
            ring, rows = as_replay(found, spec)
        except DAMAGE as error:
            if fault := machine_fault(error):
                raise UnreadableError(f"{data} cannot be read: {fault}. It may be whole, so try again") from error
            what = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            raise DataError(f"data={data}: {what}{said(error)}") from error
        return Found(None, 1, len(rows["rows"]), ring, [rows], found.name, scaled(found) if spec.action_dim else "")
    named, which = parted(data)
    path = Path(named).expanduser()
    if not path.exists():
        other = f", whose checkpoint {which} is meant, nor {path.absolute()}@{which}" if which else ""
        raise DataError(
            f"data={data}: there is no folder {path.absolute()}{other}. A relative name counts from the folder of the command; where the "
            "data of a run have moved, it goes on with deeprl resume RUN replay.data=PLACE"
        )
    if path.is_file() and path.suffix in ARRAYS:
        raise DataError(
            f"data={data}: it is a file of arrays. A data set of Minari is made of them, minari.create_dataset_from_buffers (docs/data.md, "
            "Arrays of your own), which replay.data=minari:NAME reads"
        )
    try:
        (num, capacity, env), checkpoints = recorded(path), Checkpoints(path)
        wanted = int(which) if which.isdecimal() else which or "last"
        step, parts = checkpoints.load(wanted, only={"replay"}, replaced=False, also=frozenset({"trainer"}))  # which converted data lack
    except UnreadableError:  # it may be whole
        raise
    except (RunFolderError, CheckpointError) as error:
        raise DataError(f"data={data}: {error}{unstored(path)}{instead(path, which, error)}") from error
    if (ranks := ranks_of(parts)) > 1:
        raise ValueError(
            f"data={data}: it is a run of {ranks} processes (learner=distributed), and the replay of its checkpoints is that of the first "
            "one alone. Take a run of one process"
        )
    state = parts.get("replay")
    if not isinstance(state, dict) or "ticks" not in state or not all(type(count) is int and count > 0 for count in (capacity, num)):
        raise ValueError(f"data={data}: its checkpoint holds no transitions. Take a run with a memory, such as replay=uniform")
    try:
        check_kept(state.get("parts", ()), spec.parts)
    except ValueError as error:
        of_set = "take the data set itself, whose parts this folder has as one vector, or env.parts=flat"
        remedy = of_set if data_folder.holds_data(path) else "take a run with the same env.parts and env.privileged"
        raise ValueError(f"data={data}: {error}: {remedy}") from error
    room = min(capacity, num * max(longest(state), FEW))
    return Found(None if data_folder.holds_data(path) else step, num, room, state, checkpoints.segments(step), minari.shown(env))


def longest(state: State) -> int:
    """Rows ever written by the environment with the most, the size of a ring in which the rows have the places that they had."""
    count = state.get("count")
    if not isinstance(count, np.ndarray) or count.dtype != np.int64 or not count.size:
        return sys.maxsize  # it is refused when it is loaded
    return int(count.max())


def unstored(folder: Path) -> str:
    """What a run should have been given so that its checkpoints hold a replay; empty if it was, or if it cannot be read."""
    try:
        replay = get(RunFolder(folder).read_config(), "checkpoint.replay")
    except RunFolderError:
        return ""
    return ". The run had checkpoint.replay=false: take one with checkpoint.replay=true" if replay is False else ""


def instead(folder: Path, which: str, error: Exception) -> str:
    """What can be done where the checkpoint that a name asks for is gone or damaged; empty for another error."""
    checkpoints = Checkpoints(folder)
    steps = checkpoints.steps()
    if not isinstance(error, CheckpointError) or not steps:
        return ""
    if not which.isdecimal():
        others = [f"{folder}@{step}" for step in steps if step != checkpoints.pointed(which or "last")]
        return f". An earlier one can be named: replay.data={others[-1]}" if others else ""
    if int(which) in steps:
        return ""
    return (
        f". A run that has learned from step {which} can go on only with a copy of that checkpoint, deeprl resume RUN replay.data=COPY; "
        f"without a copy, start another run with replay.data={folder}, with the weights of this one by init_from=RUN"
    )


def recorded(folder: Path) -> tuple[Any, Any, Any]:
    """Environments, capacity and the name of the environment of a stored replay, each of any type.

    Raises:
        RunFolderError: the folder is none of a run, nor one of data, or is damaged.
    """
    if data_folder.holds_data(folder):
        found = data_folder.described(folder)
        return 1, found.metadata.get("rows"), found.name
    config = RunFolder(folder).read_config()
    return get(config, "env.num"), get(config, "replay.capacity"), get(config, "names.env")
