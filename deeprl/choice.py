"""Base classes of everything that a configuration may name.

Every class that a `_target_` points at derives from `Choice`. It serves as a mark: a configuration from a stranger cannot name `os.system`,
because `deeprl.running.config.instantiate.resolve` accepts subclasses of `Choice` only.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar

from torch import nn

from deeprl.types import Noise, Rows


class Choice:
    """Mark of a class that a configuration may name. A choice without state is a frozen dataclass derived from it; one with state is a
    `Part`."""

    needs: frozenset[str] = frozenset()
    """Requirements: fields of `batch.extra`, or properties that another part offers."""
    offers: frozenset[str] = frozenset()
    need_words: ClassVar[Mapping[str, str]] = {}
    """What follows "needs" in a message, of needs that `deeprl.running.config.combinations.WORDS` does not have"""
    calls_names: ClassVar[bool] = False
    """Whether it imports and calls what its fields `package`, `function`, `wrappers` and `id` name, as environments do. In a stored
    configuration `deeprl.running.config.trust` looks at these."""
    argument_groups: ClassVar[Mapping[str, type[Group]]] = {}
    """Arguments of the constructor that are groups, by name"""
    former: ClassVar[Mapping[str, str]] = {}
    """Old names of what a subclass may override, and today's"""
    hands_on: ClassVar[type[Choice] | None] = None
    """Base to which the constructor hands its `**others`, so that what this takes is taken here too; None: `**others` are no keys"""

    def __init_subclass__(cls, **settings):
        """
        Raises:
            TypeError: the class has a method by its old name, which nothing would call.
        """
        super().__init_subclass__(**settings)
        for old, new in sorted(cls.former.items()):
            found = next((vars(each)[old] for each in cls.__mro__ if old in vars(each)), None)  # also of a class mixed in
            mark = isinstance(found, bool) and isinstance(getattr(cls, new.partition(",")[0], None), bool)
            if mark or hasattr(found, "__get__"):  # a mark, a method or a property; others are attributes of its own
                raise TypeError(f"{cls.__name__}.{old} has another name today: {new}")


def of_constructor(owner: type, eval_str: bool = False) -> inspect.Signature:
    """The signature of a constructor, with the arguments that it hands on."""
    own = inspect.signature(owner, eval_str=eval_str)
    named = {name: each for name, each in own.parameters.items() if each.kind is not each.VAR_KEYWORD}
    base = getattr(owner, "hands_on", None)
    if base is None or len(named) == len(own.parameters):  # a subclass may name all that it takes
        return own
    return own.replace(parameters=[*{**signature(base, eval_str).parameters, **named}.values()])


signature: Callable[..., inspect.Signature] = cache(of_constructor)
"""Found once, because each part of each run asks for it"""


class Group:
    """Choices that a constructor takes as one argument, such as all of one network: a frozen dataclass derived from it. In a configuration
    its fields are keys of the owner, see `keys_of`."""

    keys: ClassVar[Mapping[str, str]] = {}
    """Keys of fields that have not the field's name"""

    @classmethod
    def key(cls, field: str) -> str:
        return cls.keys.get(field, field)

    @classmethod
    def fields(cls, eval_str: bool = False) -> Mapping[str, inspect.Parameter]:
        return signature(cls, eval_str).parameters


Observe = TypeVar("Observe", bound=Callable[..., None])


def of_tensors(observe: Observe) -> Observe:
    """Mark of a `Part.observe` whose rows may be tensors on the agent's device, and that reads no number of them then."""
    observe.of_tensors = True  # type: ignore[attr-defined]
    return observe


def of_rewards(observe: Observe) -> Observe:
    """Mark of a `Part.observe` that reads no observations, so that stored images need not be read for it."""
    observe.of_rewards = True  # type: ignore[attr-defined]
    return observe


class Part(nn.Module, Choice):
    """A choice with parameters or statistics of its own. The defaults of every method are neutral."""

    keeps_statistics = True
    """Whether `observe`, where a part overrides it, accumulates anything; false if it only checks"""
    starts_anew: ClassVar[tuple[str, ...]] = ()
    """Names in it of tensors and modules that a run with the weights of another does not take: counters, rates, what belongs to data"""
    of_one_process = False
    """Whether it keeps anything of the collected data beside `observe`, so that it differs between processes that learn together"""

    def noise(self, size: tuple[int, ...], generator) -> Noise:
        """Random numbers for one or more updates; the leading axes of every tensor are `size` = (updates, *B)."""
        return {}

    def observe(self, rows: Rows) -> None:
        """Accumulate statistics of collected data."""

    def truncate_episode(self, environment: int) -> None:
        """The running episode of an environment was truncated, because it could not be restored."""


def keys_of(owner: type[Choice], eval_str: bool = False) -> dict[str, inspect.Parameter]:
    """What a configuration may give a choice: the arguments of its constructor by name, and in place of a group the group's fields by key.

    Args:
        eval_str: annotations as types, not as text.
    """
    found: dict[str, inspect.Parameter] = {}
    for name, parameter in signature(owner, eval_str).parameters.items():
        group = owner.argument_groups.get(name)
        found |= {name: parameter} if group is None else {group.key(field): each for field, each in group.fields(eval_str).items()}
    return found


def grouped(owner: type[Choice], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor, from the values of the keys of `keys_of`."""
    found = dict(given)
    for name in signature(owner).parameters.keys() & owner.argument_groups.keys():  # a subclass may take other arguments
        group = owner.argument_groups[name]
        found[name] = group(**{field: found.pop(group.key(field)) for field in group.fields() if group.key(field) in found})
    return found


def in_range(owner: object, **bounds) -> None:
    """Check attributes of `owner`: `in_range(self, length=(1, None), tau=(0, 1))`, both ends included.

    Raises:
        ValueError: naming the field, its value and the range.
    """
    for name, (low, high) in bounds.items():
        value = getattr(owner, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (low is not None and value < low) or (high is not None and value > high):
            if high is None:
                ends = "a number" if low is None else f"{'a number of ' if isinstance(value, str) else ''}at least {low}"
                ends += " and finite" if value in (math.inf, -math.inf) and (low is None or value > low) else ""
            else:
                ends = f"at most {high}" if low is None else f"between {low} and {high}"
            raise ValueError(f"{name} must be {ends}, not {value!r}")


def bounds_above_zero(owner: object, *names: str) -> None:
    """Check fields that bound something: numbers above 0, or None for no bound.

    Raises:
        ValueError: naming the field, its value and the range.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not (isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0):
            raise ValueError(f"{name} must be above 0, or null for no bound, not {value!r}")


def counts(owner: object, **least: int) -> None:
    """Check fields that count something: `counts(self, width=1, blocks=0)`.

    Raises:
        ValueError: naming the field, its value and the least number.
    """
    for name, low in least.items():
        value = getattr(owner, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ValueError(f"{name} must be a whole number of at least {low}, not {value!r}")


def numbers(owner: object, name: str, count: int) -> tuple[float, ...]:
    """Check a field with a list of finite numbers, and store YAML's list as a tuple. Returns it.

    Raises:
        ValueError: naming the field, its value and the form.
    """
    value = getattr(owner, name)
    listed = isinstance(value, (list, tuple)) and len(value) == count
    if not listed or not all(isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in value):
        raise ValueError(f"{name} must be a list of {count} finite numbers, not {list(value) if isinstance(value, tuple) else value!r}")
    object.__setattr__(owner, name, tuple(value))
    return tuple(value)


def one_of(owner: object, **options) -> None:
    """Check attributes of `owner` against the values they may take: `one_of(self, torso=("shared", "separate"))`."""
    for name, allowed in options.items():
        value = getattr(owner, name)
        if value not in allowed:
            several = "one of " if len(allowed) > 1 else ""
            raise ValueError(f"{name} must be {several}{', '.join(map(str, allowed))}, not {value!r}")
