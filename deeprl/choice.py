"""What a configuration may name.

Every class that a `_target_` points at derives from `Choice`. The class is empty on purpose: it is the mark by which a run
folder from a stranger is told apart from one that asks for `os.system` (`deeprl.config.instantiate.resolve`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from deeprl.types import Rows

if TYPE_CHECKING:
    pass


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
