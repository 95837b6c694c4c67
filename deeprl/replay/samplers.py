"""Samplers: the choice of a batch's transitions. Ours turn the same uniform numbers u (float64) into positions among the live rows
in leaf order, so that prioritised replay with α = 0 is uniform replay, bit for bit.

Transitions are numbered from the start of the run. Those in `[first, last)` can be sampled, and number i is in leaf i mod size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from deeprl.choice import Choice, in_range, one_of
from deeprl.errors import NotFinite
from deeprl.replay.sum_tree import SumTree
from deeprl.schedules import Constant
from deeprl.types import State


class Live(NamedTuple):
    """The transitions that can be sampled: numbers [first, last), in `size` leaves."""

    first: int
    last: int
    size: int

    @property
    def length(self) -> int:
        return self.last - self.first

    def nth(self, position: np.ndarray) -> np.ndarray:
        """Numbers of the transitions at (B,) positions in leaf order, in [0, length). Leaf order differs from age order once leaves are
        reused."""
        lap = self.last - self.last % self.size  # number of the transition in leaf 0
        if self.first >= lap:
            return position + self.first
        newest = self.last - lap  # leaves [0, newest) hold this lap, and the older rows come after them
        return np.where(position < newest, position + lap, position + (self.first - newest))

    def number(self, leaf: np.ndarray) -> np.ndarray:
        """Numbers of the transitions in (B,) leaves."""
        number = leaf + (self.last - self.last % self.size)
        return np.where(number >= self.last, number - self.size, number)


def check_drawn(draws: Draws, number: np.ndarray, weight: np.ndarray | None, size: int, live: Live) -> None:
    """
    Raises:
        ValueError: a sampler has drawn numbers that nobody can copy, or weights that mean nothing.
    """
    who = f"the sampler {type(draws).__name__} drew"
    if getattr(number, "dtype", None) != np.int64 or number.shape != (size,):
        found = f"{number.dtype} of shape {number.shape}" if isinstance(number, np.ndarray) else f"a {type(number).__name__}"
        raise ValueError(f"{who} {found}: the numbers of transitions are int64 of shape ({size},), as many as it got random numbers")
    if number.min() < live.first or number.max() >= live.last:
        raise ValueError(f"{who} {number.min()} to {number.max()}: numbers of live transitions are {live.first} to {live.last - 1}")
    if weight is not None and (weight.shape != (size,) or weight.min() < 0):
        raise ValueError(f"{who} weights of shape {weight.shape} from {weight.min()} on: they are ({size},) and at least 0")


class Draws:
    """A sampler at work in one replay. A subclass gives `draw`, and, if it keeps anything of the rows, the rest."""

    takes_errors = False
    """Whether `update` is called after each update of the agent"""

    def draw(self, u: np.ndarray, live: Live, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Choose among the live transitions.

        Args:
            u: (B,) float64, uniform in [0, 1): all randomness that there is.
            step: environment step, for schedules.

        Returns:
            their numbers (B,) int64, and importance weights (B,); None stands for ones.
        """
        raise NotImplementedError

    def update(self, number: np.ndarray, error: np.ndarray, live: Live) -> None:
        """Take the errors (B,) of transitions that were drawn earlier. Some may have been overwritten since."""

    def state_dict(self, live: Live) -> State:
        """What a checkpoint needs: numbers, and arrays with an entry for each live transition, under names that the replay has not
        (`deeprl.replay.sampler_check.KEPT`)."""
        return {}

    def load(self, state: State, live: Live) -> None:
        """
        Raises:
            ValueError: the state is not one of these transitions.
        """


class Sampler(Choice):
    """What a replay's key `sampler` names: a frozen dataclass of the sampler's settings."""

    def over(self, size: int) -> Draws:
        """Begin in a replay of `size` transitions."""
        raise NotImplementedError

    def memory(self, size: int) -> int:
        """Bytes that it keeps for `size` transitions."""
        return 0


class UniformDraws(Draws):
    """Uniform sampling of live transitions."""

    def draw(self, u: np.ndarray, live: Live, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        return live.nth((u * live.length).astype(np.int64)), None


@dataclass(frozen=True)
class Uniform(Sampler):
    """Every live transition is drawn with the same probability."""

    def over(self, size: int) -> UniformDraws:
        return UniformDraws()


@dataclass(frozen=True)
class Prioritized(Sampler):
    """Proportional prioritised replay (Schaul et al., 2016): p_i = (|δ_i| + ε)^α, P(i) = p_i / Σp, w_i = (N P(i))^(-β) / max w.

    With `least` 1, α 0.4, β 0 and a Huber loss this is LAP (Fujimoto, Meger, Precup, 2020): errors below 1, where the loss is squared, are
    drawn with equal probability, because their gradients are small already.

    Args:
        alpha: 0 is uniform replay.
        beta: exponent of the importance weights, a function of the environment step; the paper's rises to 1 at the end of the run.
        epsilon: added to the error, in its units.
        least: smallest |δ| + ε; a smaller one counts as this.
        initial: priority of a new row: "max", the largest given so far (1 before any), or "one".
        normalization: "batch" divides weights by the largest of the batch, as in Dopamine and CleanRL, so that the learning rate varies a
            little between batches; "global" divides by the largest of all live rows.
    """

    alpha: float = 0.6
    beta: Callable[[int], float] = field(default_factory=lambda: Constant(0.5))
    epsilon: float = 1e-6
    least: float = 0.0
    initial: str = "max"
    normalization: str = "batch"

    def __post_init__(self):
        in_range(self, alpha=(0, None), epsilon=(0, None), least=(0, None))
        for name in ("alpha", "epsilon", "least"):
            if getattr(self, name) == np.inf:
                raise ValueError(f"{name} must be finite, not inf, because priorities would not be")
        one_of(self, initial=("max", "one"), normalization=("batch", "global"))
        for end in ("value", "start", "end"):
            if not 0.0 <= getattr(self.beta, end, 0.0) <= 1.0:  # 1 corrects for the priorities entirely
                raise ValueError(f"beta.{end} must be between 0 and 1, not {getattr(self.beta, end)!r}")
        if not callable(self.beta):
            raise ValueError(
                f"beta must have keys of its own, not the value {self.beta!r}: for a constant set beta.start and beta.end to it"
            )

    def over(self, size: int) -> PrioritizedDraws:
        return PrioritizedDraws(self, size)

    def memory(self, size: int) -> int:
        return SumTree.memory(size)


class PrioritizedDraws(Draws):
    """The sum tree of `Prioritized`. Priorities of new and retired rows are written together, at the next use of the tree."""

    takes_errors = True

    def __init__(self, choice: Prioritized, size: int):
        self.choice = choice
        self.tree = SumTree(size, minimum=choice.normalization == "global")
        self.first = self.last = 0  # range of the rows in the tree
        self.largest = 1.0

    def refresh(self, live: Live) -> None:
        if live.last == self.last and live.first == self.first:
            return
        gone = np.arange(self.first, min(live.first, self.last))
        new = np.arange(max(self.last, live.first), live.last)  # after the retired rows, because new rows may take their leaves
        index = np.concatenate((gone, new)) % live.size
        value = np.zeros(len(index))
        value[len(gone) :] = self.largest if self.choice.initial == "max" else 1.0
        if len(index):
            self.tree.set(index, value)
        self.first, self.last = live.first, live.last

    def draw(self, u: np.ndarray, live: Live, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        """With importance weights in float64; `step` is that of β."""
        self.refresh(live)
        if self.tree.total <= 0.0:  # every priority is zero
            return live.nth((u * live.length).astype(np.int64)), None
        leaf = self.tree.find(u * self.tree.total)
        beta = self.choice.beta(step)
        # N p / Σp in this order, because it is exactly 1 if all priorities are 1
        weight = (self.tree.leaves[leaf] * live.length / self.tree.total) ** -beta
        if self.choice.normalization == "batch":
            weight = weight / weight.max()
        else:
            weight = weight / (self.tree.minimum * live.length / self.tree.total) ** -beta
        return live.number(leaf), weight

    def update(self, number: np.ndarray, error: np.ndarray, live: Live) -> None:
        """Set priorities. Rows that were overwritten since the draw are skipped.

        Raises:
            NotFinite: an error is not finite.
        """
        self.refresh(live)  # first, because new rows get the maximum before this update
        priority = np.maximum(np.abs(error.astype(np.float64)) + self.choice.epsilon, self.choice.least) ** self.choice.alpha
        if not np.isfinite(priority).all():
            raise NotFinite("priorities must be finite: an update reported an error that is NaN or infinite")
        stored = number >= live.first
        number, priority = number[stored], priority[stored]
        if len(number):
            self.largest = max(self.largest, float(priority.max()))
            self.tree.set(number % live.size, priority)

    def state_dict(self, live: Live) -> State:
        """Priorities of the live rows from old to new, 8 bytes per row, and the running maximum."""
        self.refresh(live)
        return {"priorities": self.tree.leaves[np.arange(live.first, live.last) % live.size], "largest_priority": self.largest}

    def load(self, state: State, live: Live) -> None:
        self.tree = SumTree(self.tree.size, minimum=self.tree.lows is not None)
        priorities = np.asarray(state["priorities"], dtype=np.float64)
        if len(priorities) != live.length:
            raise ValueError(f"the checkpoint holds {len(priorities)} priorities for {live.length} transitions")
        largest = float(state["largest_priority"])
        if not (np.isfinite(priorities).all() and (priorities >= 0).all() and 0 <= largest < np.inf):
            raise ValueError("the checkpoint holds priorities that are negative or not finite")
        if live.length:
            self.tree.set(np.arange(live.first, live.last) % live.size, priorities)
        self.first, self.last, self.largest = live.first, live.last, largest
