"""What a configuration may name.

Every class that a `_target_` points at derives from `Choice`. The class is empty on purpose: it is the mark by which a run
folder from a stranger is told apart from one that asks for `os.system` (`deeprl.build.resolve`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from deeprl.types import Batch, Rows

if TYPE_CHECKING:
    from deeprl.agent import Objective
    from deeprl.value_agent import ValueAgent
    from deeprl.values import View


class Choice:
    """A stateless choice is a frozen dataclass derived from this; one with state is a `Part`."""

    needs: frozenset[str] = frozenset()
    """What it asks of the others: `batch.extra` fields, or properties that another part offers."""
    offers: frozenset[str] = frozenset()


class Part(nn.Module, Choice):
    """A choice with parameters or statistics of its own. The defaults of every method are neutral."""

    periods: tuple[int, ...] | None = None
    """After which multiples of environment steps `maintain` has something to do; None: it is called at every tick."""

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        """Random numbers for one or many updates; every tensor starts with `size` = (updates, *B)."""
        return {}

    def observe(self, rows: Rows) -> None:
        """Statistics of collected data."""

    def maintain(self, before: int, after: int, updates: int) -> None:
        """Clocks in environment steps, with the steps before and after a tick. A chain's is called at every tick, or when one of its
        `periods` is over; that of other parts by whoever holds them."""

    def follow(self, due: tuple[str, ...]) -> None:
        """Called after every gradient update with the names that were due."""


class Weighting(Part):
    """How much each sample counts. This one is neutral: the replay's importance weight alone.

    Args:
        agent: complete but for its objectives. To be read, not to be kept: a part is inside of its agent, and would contain it.
    """

    def __init__(self, *, agent: ValueAgent):
        super().__init__()

    def forward(self, online: View, target: View, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weight of each loss, one that broadcasts to (K, *B), and metrics. Taken without gradient."""
        return batch.weight, {}

    def objectives(self) -> dict[str, Objective]:
        """Losses of its own, of (online, target, batch) as in `forward`, stepped before the agent's."""
        return {}

    def shift(self, target: nn.Module) -> None:
        """Called before the chain starts a new iteration, with the target network as it still is."""


class Auxiliary(Part):
    """An extra loss on what the agent's network shares. This one is neutral: none.

    Args:
        agent: not to be kept, as in `Weighting`. It has its spaces, torso, normalisation and `network`; its chain is still to come.
    """

    def __init__(self, *, agent: ValueAgent):
        super().__init__()

    def beside(self, torso: nn.Module, n: int) -> nn.Module | None:
        """What every network of the chain carries beside its head, a stack of `n` like its torso: blocks that `initialise` can fill.

        A chain copies and rolls them with the torso; that of the online network is trained by the agent's optimizer."""
        return None

    def groups(self, beside: nn.Module) -> list[tuple[Sequence[nn.Parameter], float]]:
        """All parameters of what `beside` made, in groups with the multiple of the agent's learning rate that each is trained with."""
        return []

    def forward(self, online: View, target: View, batch: Batch) -> tuple[Tensor | float, dict[str, Tensor]]:
        """A scalar that is added to the agent's loss, and metrics."""
        return 0.0, {}


def in_range(owner: object, **bounds) -> None:
    """Check attributes of `owner`: `in_range(self, length=(1, None), tau=(0, 1))`, both ends included.

    Raises:
        ValueError: naming the field, its value and the range.
    """
    for name, (low, high) in bounds.items():
        value = getattr(owner, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
        if not number or (low is not None and value < low) or (high is not None and value > high):
            ends = f"at least {low}" if high is None else f"at most {high}" if low is None else f"between {low} and {high}"
            raise ValueError(f"{name} must be {ends}, not {value!r}")


def one_of(owner: object, **options) -> None:
    """Check attributes of `owner` against the values they may take: `one_of(self, torso=("shared", "separate"))`."""
    for name, allowed in options.items():
        value = getattr(owner, name)
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")
