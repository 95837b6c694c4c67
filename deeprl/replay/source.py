"""The slot `replay`: when, and from what, an agent learns.

    for drawn in source.updates(before, after):     # after each step of M environments
        learn(drawn)

An option derives from `Source` and overrides what it has: rows that it keeps, the updates that are due, what a checkpoint must hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Choice, Group
from deeprl.noise import NoiseStream
from deeprl.replay.gather import Sample
from deeprl.system.terminal import amount
from deeprl.types import Batch, Rows, State

Prepare = Callable[[Batch], dict[str, Tensor]]
"""See `Agent.prepare`"""
Settings = Mapping[str, Any]
"""The keys of an option of `replay`"""


def rows_and_memory(rows: int, memory: int) -> str:
    """The size of a source for people: 50,000 rows, 2.8 MB when full."""
    return f"{rows:,} rows, {amount(memory)} when full"


@dataclass(frozen=True, kw_only=True)
class Pace(Group):
    """When a memory is learned from.

    Args:
        learning_starts: steps before the first update.
        ratio: updates a step.
    """

    learning_starts: int = 0
    ratio: float = 1.0

    def due(self, before: int, after: int, begun: int) -> int:
        """Updates after the steps (before, after] of a memory that is filled since the step `begun`."""
        return steady(before, after, begun + self.learning_starts, self.ratio)


def steady(before: int, after: int, starts: int, ratio: float) -> int:
    """Updates after the steps (before, after], at `ratio` a step, none for steps up to `starts`."""
    return int(after * ratio) - int((before if before > starts else starts) * ratio) if after > starts else 0


class Source(Choice):
    """What is learned from. The defaults are those of an empty source: rows are dropped, no update is due, nothing is saved.

    It is built with the settings of its option, and with `spec`, `num`, `discount`, `rewards`, `needs` and `batch_device`, see
    `deeprl.replay.replay.Replay`.

    Attributes:
        offline_steps: steps before the first of an environment, which are only counted.
        provenance: which data it has beside the run's own, for summary.json: their name, with the step of a run's checkpoint,
            FOLDER@STEP, their digest and number of transitions, and the environment of a run that made them.
        num: M environments that are stepped.
        batch_size: B, transitions or sequences of an update.
        capacity, bytes: rows that it holds at most, and their memory.
        working: memory beside that: of what the source learns itself, and of data that stay beside its own rows.
        held: memory of both that is taken before the first step.
        begun: step since which it is filled: 0, or that of a checkpoint without its rows.
        uniforms: stream of its random numbers, of which the position is part of each checkpoint.
        observe, prepare: the agent's, see `connect`.
    """

    paced_by: ClassVar[tuple[str, ...]] = ()
    """Keys that say when it is learned from; none, where it never is"""
    counted: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """Keys of whole numbers that are read before it is built, as by `planned`, with the least of each. An option may lack one"""
    collects: ClassVar[bool] = True
    """Whether it takes steps of environments. Otherwise a step is only counted, and no environment is made but those of evaluations"""
    cuts: ClassVar[bool] = False
    """Whether it ends episodes, see `cut`, which environments that are reset one by one, and in this process, alone can"""
    one_policy: ClassVar[bool] = False
    """Whether a batch is of one policy's steps, as many as the source decides while it collects"""
    draws_lengths: ClassVar[bool] = False
    """Whether that number is drawn, so that processes that learn together would be due at different times"""
    serves: ClassVar[str] = ""
    """The need of agents for which its batches are made, as others would misread them, or draw noise of another size; "": all agents"""
    relabels: ClassVar[bool] = False
    """Whether it is built with the environment's `goals` too, see `deeprl.types.Goals`"""
    imagines: ClassVar[bool] = False
    """Whether it is built with the agent, as `agent`, and the environment's rule of terminations, as `terminates`, too, because it makes
    transitions of its own, or tells the agent when an iteration is over"""
    needs_rows = ""
    """Why a run cannot go on from a checkpoint without its rows; "": it can"""
    on_device = False
    """Whether rows lie on the device of the batches, and are written there"""
    offline_steps = 0
    provenance: Mapping[str, Any] = MappingProxyType({})
    num = 1
    batch_size = 0
    capacity = 1
    bytes = 0
    working = 0
    held = 0
    begun = 0
    uniforms: NoiseStream
    observe: Callable[[Rows], object] = staticmethod(lambda rows: None)
    prepare: Prepare = staticmethod(lambda batch: {})
    before_pass: Callable[[int], bool] = staticmethod(lambda number: True)
    """`Agent.before_pass`, for sources that learn in passes"""
    beat: Callable[[], object] = staticmethod(lambda: None)
    """`Watchdog.beat`, for sources that work long between two updates"""

    # ---- before it is built. `settings` are its node of the configuration

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        """Updates of a whole run of `steps` steps of `num` environments."""
        return 0

    @classmethod
    def longest(cls, settings: Settings, num: int) -> int:
        """Steps that the first update takes at most, where what happens decides it; 0: `planned` knows."""
        return 0

    @classmethod
    def learns_until(cls, settings: Settings, num: int) -> int | None:
        """Steps behind which no update is made any more; None: there is no such number."""
        return None

    @classmethod
    def ratio_of(cls, settings: Settings, num: int) -> float:
        """Updates for each step of one of `num` environments, once learning has started, by `planned`."""
        far = 10**9 * num
        return (cls.planned(settings, 2 * far, num) - cls.planned(settings, far, num)) / far

    @classmethod
    def chunk(cls, settings: Settings) -> int | None:
        """Steps of each environment that one policy must collect as a whole; None if the steps of several policies may be mixed."""
        return None

    # ---- in a run

    def connect(self, seed: int, part: str, observe: Callable[[Rows], object], prepare: Prepare) -> None:
        """Join the source to its run.

        Args:
            seed, part: name of the stream of its random numbers, see `deeprl.noise.NoiseStream`.
            observe: `Agent.observe`, called with all rows that are learned from, when the agent's statistics may change.
            prepare: `Agent.prepare`.
        """
        self.uniforms = NoiseStream(seed, "replay", part, self.noise, 64)
        self.observe, self.prepare = observe, prepare

    def noise(self, block: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Uniform numbers for `block` batches: {"u": (block, B)} float64."""
        return {"u": torch.rand(block, self.batch_size, generator=generator, dtype=torch.float64)}

    def room(self) -> str:
        """What it keeps, in words; "" for nothing.

        Raises:
            ValueError: it is too small for this run.
        """
        return ""

    def append(self, rows: Rows) -> None:
        """Take one step of M environments."""
        self.observe(rows)

    def cut(self, ended: np.ndarray, failed: Sequence[int] = ()) -> list[int]:
        """Environments whose episode ends with this step because the source has planned so. Asked before `append`, if it `cuts`.

        Args:
            ended: (M,) bool, where it ended by itself.
            failed: environments that were restarted: their row is no step, and their episode is as after `truncate_episode`.
        """
        return []

    def truncate_episode(self, environment: int) -> bool:
        """Mark the running episode of an environment as truncated at its newest row, because it cannot be continued. Returns whether that
        row is still to be observed, with its mark."""
        return False

    def updates(self, before: int, after: int) -> Iterator[Sample]:
        """The samples of all updates that are due after the steps (before, after], each drawn when it is asked for."""
        return iter(())

    def priorities(self, drawn: Sample, error: Tensor) -> None:
        """Set the priorities of a sample.

        Args:
            drawn: of `updates`. Rows that were overwritten since then are skipped.
            error: (*B,) `Report.error`.
        """

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Batch axes *B."""
        return (self.batch_size,)

    @property
    def reach(self) -> int:
        """Rows that a sample reaches ahead of its transitions."""
        return 0

    def batch(self, drawn: Any) -> Batch:
        """A sample as a `Batch`: a pure function of tensors, which a compiled update may contain. A `Batch` is returned as it is."""
        return drawn

    def intact(self, drawn: Sample) -> bool:
        """Whether `batch` still gives what was drawn."""
        return True

    def seen(self) -> tuple[Tensor, Tensor | None]:
        """Raw rewards (R,) of the newest transitions, and their observations (R, *obs); None for images."""
        return torch.zeros(0), None

    def diagnostics(self) -> dict[str, float]:
        """Numbers for the log."""
        return {}

    # ---- checkpoints

    def state_dict(self) -> State:
        """What is not in `rows`."""
        return {}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        """Restore `state`, with the rows in `segments`, oldest first.

        Raises:
            ValueError: rows are missing, or belong to another run.
        """

    def require(self, digest: object) -> None:
        """
        Args:
            digest: of the data that the run of a checkpoint learned from; None: of none.

        Raises:
            ValueError: it is not that of `provenance`.
        """
        mine = self.provenance.get("digest")
        if digest != mine:
            name = self.provenance.get("name")
            raise ValueError(
                f"the run learned from data with the digest {digest!s:.40}, and replay.data={name} has {mine}: it goes on with the same "
                "alone. Of a run that has learned on, name the checkpoint: deeprl resume RUN replay.data=FOLDER@STEP; where it has removed "
                "that one, start another run, with the weights of this one by init_from=RUN"
            )

    def restart(self, step: int) -> str:
        """Go on from `step` with nothing stored. Returns what updates wait for; "" for nothing."""
        self.begun = step
        return ""

    def marks(self) -> list[int]:
        """(M,) number of rows that each environment has written for `rows`."""
        return [0] * self.num

    def live_from(self) -> list[int]:
        """(M,) number of the oldest stored row of each environment. Segments that end before it are not needed."""
        return self.marks()

    def rows(self, since: list[int] | None = None) -> dict[str, Tensor] | None:
        """Segment of the rows written since `marks` returned `since`, or of all, without those that were overwritten; None without any."""
        return None
