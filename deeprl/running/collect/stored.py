"""Offline learning: the transitions that another run of deeprl has stored, or those of a data set, are all the data that there is. They are
drawn one by one, or as sequences.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deeprl.errors import CheckpointError, RunFolderError, UnreadableError
from deeprl.packing import check_kept
from deeprl.replay.gather import Transitions
from deeprl.replay.layout import Layout
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Sampler, Uniform
from deeprl.replay.sequences import LENGTH, Recurrence, Sequences
from deeprl.replay.source import Pace, Prepare, Settings
from deeprl.running.collect import data_folder, minari
from deeprl.running.collect.minari_rows import as_replay
from deeprl.running.config.rules import get
from deeprl.running.runs.checkpoint import DAMAGE
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import folder_of, step_of
from deeprl.running.runs.folder import RunFolder
from deeprl.system.files import machine_fault
from deeprl.system.terminal import say
from deeprl.types import Rows, Series, Spec, State


class Found(NamedTuple):
    """The replay in a checkpoint of a run."""

    step: int | None
    """None: of a data set, which has none"""
    num: int
    """Environments that the run stepped"""
    capacity: int
    state: State
    segments: Iterable[dict[str, Tensor]]
    env: str
    """Name of its environment"""

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


def shown(columns: list[int] | None, width: tuple[int, ...]) -> str:
    """What the rows of data are made of."""
    if columns is None:
        return f"{', '.join(map(str, width)) or 'no'} numbers each"
    size, action, actions, _, frames = columns
    stack = f"{frames} frames of " if frames > 1 else ""
    return f"observations of {stack}{size} numbers, and actions of {f'{actions} choices' if actions else f'{action} numbers'}"


def find(data: str, spec: Spec) -> Found:
    """
    Args:
        data: a run folder, with "@best", "@last" or "@STEP" at its end for a checkpoint; the default is the last. Or a data set of Minari,
            its folder or minari:NAME, or one as `data_folder` has it.
        spec: of the environments of the run that learns.

    Raises:
        ValueError: it is none, or its checkpoint holds no transitions, or it is of other spaces.
    """
    if minari.is_data_set(data):
        try:
            found = minari.described(data)
            ring, rows = as_replay(found, spec)
        except DAMAGE as error:
            if fault := machine_fault(error):
                raise UnreadableError(f"{data} cannot be read: {fault}. It may be whole, so try again") from error
            raise ValueError(f"data={data}: {error}") from error
        return Found(None, 1, len(rows["rows"]), ring, [rows], found.name)
    which = step_of(data) or "last"
    path = Path(folder_of(data)).expanduser()
    if not path.exists():
        link = f"ln -s PLACE {shlex.quote(folder_of(data))}"
        raise ValueError(
            f"data={data}: there is no folder {path.absolute()}. Where it has moved, a link with the old name finds it: {link}"
        )
    try:
        (num, capacity, env), checkpoints = recorded(path), Checkpoints(path)
        step, parts = checkpoints.load(int(which) if which.isdecimal() else which, only={"replay"})
    except UnreadableError:  # it may be whole
        raise
    except (RunFolderError, CheckpointError) as error:
        raise ValueError(f"data={data}: {error}") from error
    state = parts.get("replay")
    if not isinstance(state, dict) or "ticks" not in state or not all(type(count) is int and count > 0 for count in (capacity, num)):
        raise ValueError(f"data={data}: its checkpoint holds no transitions. Take a run with a memory, such as replay=uniform")
    try:
        check_kept(state.get("parts", ()), spec.parts)
    except ValueError as error:
        of_set = "take the data set itself, whose parts this folder has as one vector, or env.parts=flat"
        remedy = of_set if data_folder.holds_data(path) else "take a run with the same env.parts and env.privileged"
        raise ValueError(f"data={data}: {error}: {remedy}") from error
    return Found(None if data_folder.holds_data(path) else step, num, capacity, state, checkpoints.segments(step), minari.shown(env))


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


class Stored(Replay):
    """A replay that is filled before the first step, by another run, and never grows.

    Args:
        data: that run or data set, see `find`. It is read, and nothing in it is called.
        ratio: updates for each counted step.
        num: M, steps that are counted at once. No environment is stepped in training.
        others: as in `Replay`.

    Raises:
        ValueError: there are no such data, or they are of an environment with other spaces.
    """

    paced_by = ("replay.ratio",)
    collects = False

    def __init__(
        self,
        *,
        data: str,
        batch_size: int,
        n_step: int = 1,
        sampler: Sampler = Uniform(),
        device: str = "auto",
        ratio: float = 1.0,
        num: int,
        **others,
    ):
        found = find(data, others["spec"])
        super().__init__(
            capacity=found.capacity, num=found.num, batch_size=batch_size, n_step=n_step, sampler=sampler, device=device,
            pace=Pace(ratio=ratio), **self.suited(found, others),
        )  # fmt: skip
        self.data = data
        if not found.fits(self.layout):
            width = np.shape(found.state.get("pending", ()))[-1:]
            mine = shown(found.columns and self.layout.columns, (self.layout.state,))
            raise ValueError(
                f"data={data}: its transitions are of {found.env}, {shown(found.columns, width)}, and those of this run have {mine}, with "
                f"observations {tuple(self.spec.obs_shape)}: take data of this run's env"
            )
        found = found if self.stored_state else found.without_states()
        try:
            self.ring.load(found.state, found.segments)
        except UnreadableError:
            raise
        except DAMAGE as error:  # the folder may be a stranger's
            raise ValueError(f"data={data}: {error}") from error
        if not len(self):
            raise ValueError(f"data={data}: {self.too_little()}")
        held = self.ring.written([0] * self.num)
        if not torch.isfinite(held["rows"]).all():
            raise ValueError(f"data={data}: it holds a number that is not finite")
        self.digest = hashlib.blake2b(b"".join(held[name].numpy().tobytes() for name in sorted(held)), digest_size=16).hexdigest()
        count = len(self.numbers())
        self.provenance = {"name": data, "digest": self.digest, "transitions": count}
        which = found.env if found.step is None else f"{found.env}, step {found.step:,}"
        say(f"replay.data: {count:,} transitions of {which}, digest {self.digest}")

    @classmethod
    def suited(cls, found: Found, given: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the base, some of which depend on the data.

        Raises:
            ValueError: there are too few data for them.
        """
        return given

    def too_little(self) -> str:
        """Why nothing can be drawn."""
        return "its replay is empty"

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        return super().planned({**settings, "learning_starts": 0}, steps, num)

    def connect(self, seed: int, part: str, observe: Callable[[Rows], object], prepare: Prepare) -> None:
        """Running statistics of the agent are those of all transitions, from the start."""
        super().connect(seed, part, observe, prepare)
        self.show(observe)

    def show(self, observe: Callable[[Rows], object]) -> None:
        """Call `observe` with all transitions, one environment after the other, a few thousand at a time. Images alone are left out,
        because they have no running statistics."""
        numbers = self.numbers()
        for each in range(self.num):
            own = numbers[numbers % self.num == each]
            for number in np.array_split(own, -(-len(own) // 4096)):
                rows = Series(*self.transitions(number, images=bool(self.spec.parts)))
                observe(rows._replace(ended=rows.ended | (number == own[-1])))

    def numbers(self) -> np.ndarray:
        """Of all stored transitions, those too with which no n-step sum or sequence begins."""
        return np.arange(self.ring.first * self.num, self.ring.last * self.num)

    def transitions(self, number: np.ndarray, images: bool = True) -> Rows:
        """The transitions of these numbers, with raw rewards, as one step of as many environments, and with the states that are stored.

        Args:
            images: false: observations that are images are empty.
        """
        at, rows, stored = self.layout, len(number), self.ring.tensors()[0]
        place = torch.from_numpy(self.ring.slots.reshape(-1).take(number % self.live.size))
        here = stored[place]
        if at.image and images:
            rule = self.rule._replace(n=1, extras=frozenset(), device=torch.device("cpu"), rewards=lambda raw: raw)
            gather = Transitions(self.ring, None, rule, rows)
            batch = gather.batch(gather(place, torch.from_numpy(number), None))
            obs, after = batch.obs.numpy(), batch.next_obs.numpy()
        elif at.image:
            obs = after = np.zeros((rows, 0), np.uint8)
        else:
            obs, after = (part[:, : at.size].unflatten(1, self.spec.obs_shape).numpy() for part in (here, stored[place + 1]))
        action = here[:, at.action : at.reward].numpy() if self.spec.action_dim else here[:, at.action].long().numpy()
        ended, terminated = here[:, at.ended].numpy() > 0, here[:, at.continues].numpy() == 0
        reward, probability, state = (here[:, columns].numpy() for columns in (at.reward, at.probability, slice(at.state, None)))
        return Rows(obs, action, reward, after, terminated, ended, probability, state)

    def room(self) -> str:
        return ""

    # Checkpoints: the rows are those of the other run, which must be as they were

    def state_dict(self) -> State:
        return {"data": self.digest, **self.draws.state_dict(self.live)}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        """
        Raises:
            ValueError: the data have changed since.
        """
        self.require(state.get("data"))
        self.draws.load(state, self.live)

    def restart(self, step: int) -> str:
        return ""

    def marks(self) -> list[int]:
        return []

    def live_from(self) -> list[int]:
        return []

    def rows(self, since: list[int] | None = None) -> None:
        return None


class StoredSequences(Stored, Sequences):
    """As `Stored`, in sequences, which are those of `Sequences` over the rows of the data: they cross the ends of episodes, and bootstrap
    behind a time limit.

    With the need "state" a sequence starts with the state that was stored when its first row was collected, if the data are of a run whose
    core has as many numbers; otherwise with zeros, which a burn-in moves.

    Args:
        data, ratio: as in `Stored`.
        length, n_step, mix, recurrence: as in `Sequences`.
        others: as in `Replay`.

    Raises:
        ValueError: as in `Stored` and `Sequences`, or there is no whole sequence.
    """

    counted = Sequences.counted
    hands_on = None  # type: ignore[assignment]  # its keys are those of `__init__`

    def __init__(
        self,
        *,
        data: str,
        batch_size: int,
        length: int = LENGTH,
        n_step: int = 1,
        mix: float = 0.0,
        recurrence: Recurrence = Recurrence(),
        sampler: Sampler = Uniform(),
        device: str = "auto",
        ratio: float = 1.0,
        num: int,
        **others,
    ):
        super().__init__(
            data=data, batch_size=batch_size, length=length, n_step=n_step, mix=mix, recurrence=recurrence, sampler=sampler, device=device,
            ratio=ratio, num=num, **others,
        )  # fmt: skip

    @classmethod
    def suited(cls, found: Found, given: dict[str, Any]) -> dict[str, Any]:
        recurrence: Recurrence = given["recurrence"]
        rows, least = found.capacity // found.num, recurrence.burn_in + given["length"]
        if rows < least:
            raise ValueError(f"length={given['length']} with burn_in={recurrence.burn_in} takes {least} rows, and the data have {rows}")
        return given if found.states == recurrence.state_size else {**given, "recurrence": replace(recurrence, start="zero")}

    def too_little(self) -> str:
        return f"it has no sequence of {self.reach} rows: choose a smaller replay.length or replay.burn_in"
