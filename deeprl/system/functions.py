"""Names of functions, "module:function", under which a configuration finds them again."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import operator
from collections.abc import Callable
from typing import Any

GIVEN: dict[str, Callable[..., Any]] = {}
"""Functions that this process was given as objects, because a lambda or a function of a notebook cannot be imported by its name"""

MAIN: dict[str, Callable[..., Any]] = {}
"""Functions of the main program under the names of `name_of`: a cell of a notebook may give such a name to another function"""


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function. This process always finds the function under it, others if it can be imported."""
    module, qualified = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    name = f"{module}:{qualified}" if module and qualified else f"{type(function).__module__}:{type(function).__qualname__}"
    with contextlib.suppress(ImportError):
        before = found(name)
        if before is function or (module == "__main__" and alike(before, function)):  # the same cell, run again
            if module == "__main__":
                MAIN[name] = function
            return name
    number = sum(1 for other in GIVEN if other.partition("#")[0] == name)
    same = alike if module == "__main__" and "<" not in name else operator.is_  # two lambdas may differ by what they close over alone
    known = next((other for other, given in GIVEN.items() if same(given, function)), None)
    GIVEN[known or f"{name}#{number + 1}"] = function
    return known or f"{name}#{number + 1}"


def alike(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two functions were made by the same lines, as far as they say what they do."""
    lines = [tuple(repr(getattr(each, name, each)) for name in ("__defaults__", "__kwdefaults__", "__closure__")) for each in (one, other)]
    return lines[0] == lines[1] and getattr(one, "__code__", one) == getattr(other, "__code__", other)


def found(name: str) -> Callable[..., Any]:
    """The function of a name.

    Raises:
        ImportError: there is none.
    """
    if name in GIVEN or name in MAIN:
        return GIVEN[name] if name in GIVEN else MAIN[name]
    module, _, path = name.partition(":")
    value: Any = None
    near: list[str] = []
    try:
        value = importlib.import_module(module)
        for part in path.split("."):
            near = difflib.get_close_matches(part, dir(value), n=1)
            value = getattr(value, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImportError(f"{error}{f'. Did you mean {near[0]}?' if near else ''}") from error
    if not callable(value):
        raise ImportError(f"it is {type(value).__name__}, not a function")
    return value


def unimportable(name: str) -> dict[str, Callable[..., Any]]:
    """What another process must add to its `GIVEN` to find the function of a name; nothing if it can import it."""
    return {name: found(name)} if name in GIVEN or name.startswith("__main__:") else {}


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False  # of a builtin, which has no signature
