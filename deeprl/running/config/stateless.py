"""Choices keep no state: a check of a run's parts, once they have been used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cached_property
from typing import Any

from torch import nn

from deeprl.choice import Choice
from deeprl.errors import ConfigError


def require_stateless(**parts: object) -> None:
    """
    Args:
        parts: by slot, after they have been used once: what a choice notes, it notes then.

    Raises:
        ConfigError: a choice, which is a frozen dataclass, has an attribute that is neither a field nor a `cached_property` of its class.
    """
    for slot, part in parts.items():
        for path, choice in choices_of(part, slot, set()):
            if more := [name for name in vars(choice) if name not in known(type(choice))]:
                raise ConfigError(
                    f"{path} ({type(choice).__name__}) keeps state in {', '.join(more)}, which no checkpoint holds, and which evaluation "
                    "shares: derive it from Part, or make it a functools.cached_property if it follows from the fields alone."
                )


def known(kind: type) -> set[str]:
    """Names that an instance may hold: fields, values that follow from them, and what it says of itself (`needs`)."""
    cached = {name for each in kind.__mro__ for name, value in vars(each).items() if isinstance(value, cached_property)}
    return {field.name for field in fields(kind)} | cached | {*vars(Choice)}


def choices_of(part: object, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Every choice that is a frozen dataclass in a part, in its modules, fields and collections, with its place."""
    if id(part) in seen or isinstance(part, str):
        return
    seen.add(id(part))
    inner: dict[Any, Any] = {}
    if isinstance(part, nn.Module):
        inner = {name: item for name, item in vars(part).items() if name not in vars(nn.Module())} | part._modules
    elif isinstance(part, Choice):
        inner = vars(part)
        parameters = getattr(type(part), "__dataclass_params__", None)
        if parameters is not None and parameters.frozen:
            yield path, part
    elif isinstance(part, dict):
        inner = part
    elif isinstance(part, list | tuple):
        inner = dict(enumerate(part))
    for name, item in inner.items():
        yield from choices_of(item, f"{path}.{name}", seen)
