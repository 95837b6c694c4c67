"""Objects from nodes of a configuration. A node may name allowed classes only."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deeprl.choice import Choice, grouped, keys_of, signature
from deeprl.errors import ConfigError, UnknownNameError, line_of_users, located, origin
from deeprl.running.config.folders import left_out
from deeprl.running.config.option_names import labelled
from deeprl.running.config.rules import nearest
from deeprl.running.config.trust import Allowed, allow_with, is_defined_in

PACKAGES = ("deeprl",)
"""Packages whose classes a configuration may name that nobody has looked at."""
EARLIER = ("agents", "envs")
"""Where classes of `deeprl.agents` and `deeprl.envs` stood at earlier commits"""


def resolve(target: object, path: str, allowed: Allowed = PACKAGES) -> type[Choice]:
    """The class that a `_target_` names.

    The test is on the resolved object, not on its name, see `deeprl.running.config.trust`: it must be a class, derive from `Choice`, and be
    *defined* in an allowed package. `deeprl.running.config.instantiate.importlib` starts with an allowed package, but is refused.

    Raises:
        UnknownNameError: the name is malformed, or not that of a choice.
        ConfigError: it is not allowed.
    """
    module, _, name = str(target).rpartition(".")
    if not module:
        raise UnknownNameError(f"{path}._target_ must be the import path of a class, not {target!r}.")
    if allowed is not None and module.split(".")[0] not in allowed:
        raise (UnknownNameError if module.split(".")[0] in EARLIER else ConfigError)(
            f"{path}._target_={target} is outside of the packages {', '.join(allowed)}: "
            f"if you trust it, {allow_with(module.split('.')[0])}.{left_out(module.split('.')[0])}"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]
        hint = " Is its distribution installed, or its folder in PYTHONPATH?" if absent else ""
        raise UnknownNameError(f"{path}._target_={target} cannot be found: {error}.{hint}") from error
    except (Exception, SystemExit) as error:
        raise UnknownNameError(f"{path}._target_={target} cannot be imported, because {module} raised {origin(error)}: {error}.") from error
    ours = allowed is None or is_defined_in(found, allowed)
    if not (inspect.isclass(found) and issubclass(found, Choice) and ours):
        form = f" A wrapper is written {{path: {target}, kwargs: {{...}}}}." if path.startswith("env.wrappers") else ""
        raise ConfigError(f"{path}._target_={target} is no choice: a configuration may name subclasses of deeprl.choice.Choice only.{form}")
    return found


@dataclass(frozen=True)
class Deferred:
    """A part that its owner builds, because only the owner knows the sizes. Its errors name the key in the configuration."""

    cls: type
    kwargs: dict[str, Any]
    path: str
    option: str | None = None
    """The chosen one of its slot, where that is known: options may share a class"""

    def __call__(self, *args, key: str | None = None, **kwargs):
        """
        Args:
            key: under which the arguments stand, if the owner takes them itself and hands them on; None: below the part.
        """
        return construct(self.cls, args, {**self.kwargs, **kwargs}, self.path, self.option, key)


def construct(cls: type, args: tuple, kwargs: dict[str, Any], path: str, option: str | None = None, key: str | None = None) -> Any:
    try:
        given = grouped(cls, kwargs)
        signature(cls).bind(*args, **given)
    except TypeError as error:  # a class that belongs to another slot
        remedy = "Give it, or take another option of this slot."
        if path == "agent" and "unexpected keyword" in str(error):  # spec or seed, because `instantiate` knows its keys
            remedy = f"Let {cls.__name__}.__init__ take it beside its own keys, as each agent takes spec and seed."
        raise ConfigError(f"{labelled(path, cls, option)}: {error}. {remedy}") from error
    except ValueError as error:  # of a group
        raise refusal(cls, path, error, option, key) from error
    try:
        return cls(*args, **given)
    except ConfigError:
        raise
    except ValueError as error:
        raise refusal(cls, path, error, option, key) from error
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:  # a value has a wrong type, and no check covers it
        ours = cls.__module__.split(".")[0] == "deeprl" and not line_of_users(error)  # which a part of ours may have called
        raise ConfigError(f"{labelled(path, cls, option)}: {f'{error}.' if ours else located(error)}") from error
    except NameError as error:
        raise ConfigError(f"{labelled(path, cls, option)}: {located(error)}") from error


def refusal(cls: type, path: str, error: ValueError, option: str | None = None, key: str | None = None) -> ConfigError:
    """What a check says of a value, with the key.

    Args:
        key: under which the values stand; None: `path`.
    """
    text = str(error).rstrip(".")
    if cls.__module__.split(".")[0] == "deeprl" and (place := line_of_users(error)):  # a part of ours has built it
        text += f" ({place})"
    field = text.split()[0].partition("=")[0] if text else ""  # replay.data=DATA: ..., replay.share must be ...
    if field.startswith(("agent/", "agent.")) and "=" in text.split()[0]:  # agent/torso=nature needs ..., which a chain has built
        return ConfigError(f"{text}.")
    return ConfigError(f"{key or path}.{text}." if field in accepted(cls) else f"{labelled(path, cls, option)}: {text}.")


OPTIONAL = "typing.Optional[int]", "int | None"


def accepted(cls: type) -> dict[str, str]:
    """Keyword arguments of a choice, with their annotations as text, which they are in modules that import `annotations` alone."""
    known = {key: p.annotation for key, p in keys_of(cls).items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return {key: each.__name__ if isinstance(each, type) else str(each).replace(*OPTIONAL) for key, each in known.items()}


def taken(names: Iterable[str]) -> str:
    return f" Its keys are {', '.join(names)}." if names else " It has no keys."


def is_deferred(owner: type, annotation: object) -> bool | None:
    """Whether an owner itself builds what its parameter with this annotation takes; None: a class that is not ours does not say."""
    return True if "Callable[..., " in str(annotation) else False if owner.__module__.split(".")[0] == "deeprl" else None


def instantiate(node: object, path: str, allowed: Allowed = PACKAGES, deferred: bool | None = None) -> Any:
    """The object that a configuration node describes: `_target_` names the class; `_partial_: true` gives a `Deferred`.

    Args:
        deferred: what `_partial_` must be, see `is_deferred`.

    Raises:
        ConfigError: a key or value is wrong; the message names the full key.
    """
    if isinstance(node, list):
        return tuple(instantiate(item, f"{path}[{i}]", allowed, deferred) for i, item in enumerate(node))
    if not isinstance(node, dict):
        return node
    cls = resolve(node["_target_"], path, allowed) if "_target_" in node else None
    names = accepted(cls) if cls else {}
    items = {
        key: instantiate(value, f"{path}.{key}", allowed, is_deferred(cls, names.get(key)) if cls else deferred)
        for key, value in node.items()
        if key not in ("_target_", "_partial_")
    }
    if cls is None:
        return items
    partial = node.get("_partial_", False)
    if not isinstance(partial, bool) or deferred not in (None, partial):
        form = "true or false" if deferred is None else str(deferred).lower()
        raise ConfigError(f"{path}._partial_={partial!r:.100} is out of range: it takes {form}.")
    for key in items:
        if key not in names:
            raise UnknownNameError(f"{path}.{key}={node[key]!r}: {cls.__name__} takes no {key}.{nearest(key, names) or taken(names)}")
        if names[key] == "bool" and not isinstance(items[key], bool):  # any other value would count as true
            raise ConfigError(f"{path}.{key}={node[key]!r} is out of range: it takes true or false.")
        if names[key] in ("int", "int | None") and isinstance(items[key], (float, bool)):  # 1e4 is a float in YAML
            if isinstance(items[key], bool) or not items[key].is_integer():  # a period of 1.5 would count, and mean nothing
                raise ConfigError(f"{path}.{key}={node[key]!r} is out of range: it takes a whole number.")
            items[key] = int(items[key])
    if partial:
        return Deferred(cls, items, path)
    return construct(cls, (), items, path)
