"""Choices keep no state: a check of a run's parts, once they have been used."""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deeprl.choice import Choice
from deeprl.errors import ConfigError
from deeprl.system.terminal import say


def require_stateless(before: Mapping[str, object] = MappingProxyType({}), **parts: object) -> None:
    """
    Args:
        before: what `contents` gave of the same parts before they were used; without it only new attributes are seen.
        parts: by slot, after they have been used once: what a choice notes, it notes then.

    Raises:
        ConfigError: a choice that is a frozen dataclass has an attribute that is neither a field nor a `cached_property` of its class, or
            the content of a field, or of an attribute of another choice, has changed.
    """
    now = contents(**parts)
    for path, choice in named(**parts):
        more = [name for name in vars(choice) if name not in known(type(choice))] if frozen(choice) else []
        seen = any(place.rpartition(".")[0] == path for place in before)  # a choice that was made since has no content of before
        for name in own(choice) if seen else ():
            then, value = before.get(f"{path}.{name}"), now[f"{path}.{name}"]
            if then != value and (frozen(choice) or is_state(then, value, True)):
                more.append(name)
        if more:
            raise ConfigError(
                f"{path} ({type(choice).__name__}) keeps state in {', '.join(more)}, which no checkpoint holds, and which evaluation "
                "shares: derive it from Part, or make it a functools.cached_property if it follows from the fields alone."
            )


def contents(**parts: object) -> dict[str, object]:
    """What the fields of choices hold, by place, such that it can be compared later; of a class of somebody's that is no frozen dataclass
    its attributes."""
    return {f"{path}.{name}": held(vars(choice).get(name)) for path, choice in named(**parts) for name in own(choice)}


def frozen(choice: Choice) -> bool:
    parameters = getattr(type(choice), "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


def own(choice: Choice) -> list[str]:
    """What must not change: fields of a frozen dataclass, and else all attributes."""
    return [field.name for field in fields(choice)] if frozen(choice) else [*vars(choice).keys() - cached(type(choice))]  # type: ignore[arg-type]


def attributes(agent: nn.Module) -> dict[str, object]:
    """What attributes of an agent and its modules hold, by place, such that it can be compared later; nothing of tensors that are
    parameters and buffers too."""
    saved = frozenset(tensor.untyped_storage().data_ptr() for tensor in (*agent.parameters(), *agent.buffers()))
    blank, found = vars(nn.Module()).keys(), dict[str, object]()
    for path, module in agent.named_modules():
        for name, value in vars(module).items():
            place = f"{path}.{name}".lstrip(".")
            if name not in blank and name not in cached(type(module)):
                found[place] = held(value, saved)
            for i, inner in enumerate(value if isinstance(value, tuple) else ()):  # a tuple hides a module, as `Copies` does
                found |= {f"{place}.{i}.{key}": each for key, each in attributes(inner).items()} if isinstance(inner, nn.Module) else {}
    return found


def tensors(agent: nn.Module) -> dict[str, object]:
    """What its parameters and buffers hold, in the same form."""
    return {name: held(value) for name, value in (*agent.named_parameters(), *agent.named_buffers())}


def require_unchanged(what: str, before: dict[str, object], now: dict[str, object], instead: str, growing: bool = False) -> None:
    """
    Args:
        what: was done between, such as "acting".
        before, now: of `attributes` or `tensors`. A value that was None, or a new one that is no number, may be one that is made once.
        instead: where state belongs.
        growing: whether a dictionary may have new keys, as a table of what was computed before has.

    Raises:
        ConfigError: what is held has changed.
    """
    if changed := [name for name, value in now.items() if value != before.get(name) and is_state(before.get(name), value, growing)]:
        raise ConfigError(f"agent: {what} changes {', '.join(changed)}, {instead}.")


class UnsavedState:
    """Tells once that attributes of an agent have changed while a run trained, which no check at its start sees: a part counts in
    `after_update` or `observe`, say."""

    def __init__(self, agent: nn.Module):
        self.agent: nn.Module | None = agent
        self.before = attributes(agent)

    def tell(self) -> None:
        if self.agent is None:
            return
        now = attributes(self.agent)
        before = {name: self.before.get(name) for name in now}
        changed = [name for name, value in now.items() if value != before[name] and is_state(before[name], value, True)]
        if changed:
            self.agent = None
            say(
                f"agent: {', '.join(changed)} changed while the run trained, and no checkpoint holds attributes, so that a resumed run may "
                "be another one: keep it in a buffer (`register_buffer`), or, if it follows from others, in a functools.cached_property"
            )


def is_state(before: object, value: object, growing: bool) -> bool:
    if growing and isinstance(before, dict) and isinstance(value, dict):
        return any(key not in value or value[key] != item for key, item in before.items())
    return before is not None or isinstance(value, int | float)


def held(value: object, saved: Collection[int] = (), around: tuple[int, ...] = ()) -> object:
    """A copy of collections and numbers, a checksum of arrays and generators, which can change in place; of all else nothing.

    Args:
        saved: addresses of the memory of tensors of which nothing is held.
        around: `id` of the collections that the value lies in, because a collection may lie in itself.
    """
    if id(value) in around:
        return None
    around = (*around, id(value))
    if isinstance(value, dict):
        return {key: held(item, saved, around) for key, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return [held(item, saved, around) for item in value]
    if isinstance(value, set | bytearray):
        return sorted(map(repr, value))
    if isinstance(value, torch.Generator):
        return held(value.get_state())
    if isinstance(value, Tensor):
        if value.is_meta or value.layout != torch.strided or value.untyped_storage().data_ptr() in saved:
            return None
        return held(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())  # bytes, because NumPy lacks bfloat16
    if isinstance(value, np.ndarray):
        if isinstance(owner := owner_of(value), Tensor) and owner.untyped_storage().data_ptr() in saved:
            return None  # agents that plan compute with NumPy's views of their buffers
        return [zlib.crc32(value.tobytes())]  # a list, because a number of its own is state (`is_state`)
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, float) and math.isnan(value):
        return "nan"  # which is not equal to itself
    return value if isinstance(value, str | bytes | int | float | bool | None) else None


def owner_of(array: np.ndarray) -> object:
    """What has the memory of an array: itself, or the tensor, say, of which it is a view."""
    owner: object = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner


def named(**parts: object) -> Iterator[tuple[str, Any]]:
    """`choices_of` parts by slot."""
    for slot, part in parts.items():
        yield from choices_of(part, slot, set())


def known(kind: type) -> set[str]:
    """Names that an instance may hold: fields, values that follow from them, and what it says of itself (`needs`)."""
    return {field.name for field in fields(kind)} | cached(kind) | {*vars(Choice)}


def cached(kind: type) -> set[str]:
    """Names of values that follow from others, and are kept from their first use on."""
    return {name for each in kind.__mro__ for name, value in vars(each).items() if isinstance(value, cached_property)}


def choices_of(part: object, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Every choice that is no module in a part, in its modules, fields and collections, with its place."""
    if id(part) in seen or isinstance(part, str):
        return
    seen.add(id(part))
    inner: dict[Any, Any] = {}
    if isinstance(part, nn.Module):
        inner = {name: item for name, item in vars(part).items() if name not in vars(nn.Module())} | part._modules
    elif isinstance(part, Choice):
        inner = vars(part)
        yield path, part
    elif isinstance(part, dict):
        inner = part
    elif isinstance(part, list | tuple):
        inner = dict(enumerate(part))
    for name, item in inner.items():
        yield from choices_of(item, f"{path}.{name}", seen)
