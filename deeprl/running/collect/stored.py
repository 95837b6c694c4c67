"""Offline learning: the transitions that another run of deeprl has stored, or those of a data set, are all the data that there is. They are
drawn one by one, or as sequences.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.errors import UnreadableError
from deeprl.replay.gather import Transitions
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Sampler, Uniform
from deeprl.replay.sequences import LENGTH, Recurrence, Sequences
from deeprl.replay.source import Pace, Prepare, Settings
from deeprl.running.collect.found import Found, find, shown
from deeprl.running.config.stored import is_gone
from deeprl.running.runs.checkpoint import DAMAGE
from deeprl.running.runs.config_file import folder_of, step_of
from deeprl.system.terminal import say
from deeprl.types import Rows, Series, State


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
        self.data, complete = data, False
        while not complete:
            found = find(data, others["spec"])
            super().__init__(
                capacity=found.capacity, num=found.num, batch_size=batch_size, n_step=n_step, sampler=sampler, device=device,
                pace=Pace(ratio=ratio), **self.suited(found, others),
            )  # fmt: skip
            if not found.fits(self.layout):
                width = np.shape(found.state.get("pending", ()))[-1:]
                mine = shown(found.columns and self.layout.columns, (self.layout.state,))
                raise ValueError(
                    f"data={data}: its transitions are of {found.env}, {shown(found.columns, width)}, and those of this run have {mine}, "
                    f"with observations {tuple(self.spec.obs_shape)}: take data of this run's env"
                )
            complete = self.loaded(found)
        if not len(self):
            raise ValueError(f"data={data}: {self.too_little()}")
        held = self.ring.written([0] * self.num)
        if not all(torch.isfinite(some).all() for some in held["rows"].split(4096)):  # a copy is a block
            raise ValueError(f"data={data}: it holds a number that is not finite")
        if "behavior_probability" in self.rule.extras and not (found.step is not None and self.knows_probabilities(held["rows"])):
            raise ValueError(
                f"data={data}: it does not say with which probability each action was taken, and this agent's backup divides by it. Take "
                "data of a run whose agent stores it (agent=retrace_dqn), or agent/backup=tree_backup or q_lambda, which do without"
            )
        whole = hashlib.blake2b(digest_size=16)
        for name in sorted(held):  # without a copy, because they may be gigabytes
            whole.update(held[name].contiguous().numpy().data)
        self.digest = whole.hexdigest()
        self.held, count = self.bytes, len(self.numbers())
        self.from_start = self.ring.began and not self.ring.first
        """Whether nothing came before the first row: no row was overwritten, and the replay did not start anew at a resume"""
        name = data if found.step is None else f"{folder_of(data)}@{found.step}"
        self.provenance = {"name": name, "digest": self.digest, "transitions": count}
        if found.step is not None:
            self.provenance["env"] = found.env
        which = found.env if found.step is None else f"{found.env}, step {found.step:,}"
        say(f"replay.data: {count:,} transitions of {which}, digest {self.digest}{found.remark}")

    def loaded(self, found: Found) -> bool:
        """Load the rows.

        Returns:
            false: their run has saved again meanwhile, and removed the checkpoint. The next one may hold more rows.

        Raises:
            ValueError: they are damaged.
        """
        state = found if self.stored_state else found.without_states()
        try:
            self.ring.load(state.state, state.segments)
        except UnreadableError:
            raise
        except DAMAGE as error:  # the folder may be a stranger's
            if found.step is not None and not step_of(self.data).isdecimal() and is_gone(f"{folder_of(self.data)}@{found.step}"):
                return False
            raise ValueError(f"data={self.data}: {error}") from error
        return True

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
        """Call `observe` with all transitions, one environment after the other, a few thousand at a time. Observations that are images
        are empty for an agent that looks at none (`Agent.observes_images`), because reading them takes its time."""
        images = bool(self.spec.parts) or getattr(getattr(observe, "__self__", None), "observes_images", True)
        numbers = self.numbers()
        for each in range(self.num):
            own = numbers[numbers % self.num == each]
            for number in np.array_split(own, -(-len(own) // 4096)):
                rows = Series(*self.transitions(number, images=images))
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

    def knows_probabilities(self, rows: Tensor) -> bool:
        """Whether each transition has the probability of its action: a run stores 0 where its agent does not calculate it, or 1 for all
        where it acts by a policy. Data sets have none at all, and 1 in its place."""
        at, least = self.layout, 1.0
        for some in rows.split(4096):
            known = some[some[:, at.real] > 0, at.probability]
            least = min(least, float(known.min())) if len(known) else least
        return 0.0 < least < 1.0

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
        return "nothing, and the priorities are equal again" if self.draws.takes_errors else ""

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
