"""The one rule for the names that a stored configuration may call. It may come from a stranger, so the name alone proves nothing:
`gymnasium.wrappers.rendering:os.system` begins with a package that many users allow.

What is called must be a class or a plain function that is *defined* in a package that may be named; neither a module that this one imports
nor what lies behind it, no builtin, no method, no instance such as `functools.partial`. A `_target_` may be defined in deeprl, in an
installed distribution that announces configurations, or in a package that the user's command allows, and is a `Choice`. What `env.function`
calls is in a package that the command itself allows, and a function or the class of an environment. Packages and wrappers are as the
first, without deeprl. Files need the user's word too, because Gymnasium's wrappers write to them. Gymnasium is allowed by habit, for any of
its wrappers, so that of its functions only those that make an environment are called: others import, write or unpickle what they are given.
"""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
from collections.abc import Collection, Iterator
from types import FunctionType
from typing import Any

from deeprl.errors import ConfigError
from deeprl.running.config import folders
from deeprl.running.runs.config_file import Config, flatten
from deeprl.system.functions import GIVEN, found

Allowed = tuple[str, ...] | None
"""What a stored configuration may name: `folders.packages`, packages first that need no word of the user, then what the command allows.
None allows all, for a configuration from the user's own command line."""


def is_defined_in(value: object, packages: Collection[str]) -> bool:
    """Whether an object is a class or a plain function whose own module lies in one of the packages, whatever name it was found by."""
    return isinstance(value, FunctionType | type) and str(value.__module__).split(".")[0] in packages


def require_environment(env: Config, path: str, allowed: tuple[str, ...]) -> None:
    """
    Args:
        env: a node whose class `calls_names`.
        path: of the node, for messages.

    Raises:
        ConfigError: it names a package, a function, a wrapper or a file that the user has not allowed.
    """
    for key, name, package in named(env):
        require_package(f"{path}.{key}={name!s:.200}", package, allowed)
    if env.get("function"):
        require_function(f"{path}.function", str(env["function"]), allowed[len(folders.packages()) :])
    for wrapper, _ in wrappers_of(env):
        value = imported(f"{path}.wrappers", wrapper.rpartition(".")[0], wrapper.rpartition(".")[2])
        if not (inspect.isclass(value) and is_defined_in(value, [name for name in allowed if name != "deeprl"])):
            raise ConfigError(f"{path}.wrappers: {wrapper:.200} is no class that is defined in a package which the command allows.")
    for key, package, text in files(env):
        if package not in allowed or package == "gymnasium":
            require_file(f"{path}.{key}: this run hands on the file", text, allowed)


def require_package(given: str, package: str, allowed: tuple[str, ...]) -> None:
    if package == "__main__" and package not in allowed:
        raise ConfigError(
            f"{given}: this environment is of a function that stood in a script or a notebook: put the function in a module, or give it, "
            "deeprl.load(FOLDER, env=FUNCTION)."
        )
    if package in sys.stdlib_module_names or package == "deeprl":
        raise ConfigError(f"{given}: a stored configuration may call nothing of {package}.")
    if package not in allowed:
        raise ConfigError(f"{given}: this run imports {package}: if you trust it, {allow_with(package)}.")


def require_file(given: str, text: str, allowed: tuple[str, ...]) -> None:
    """
    Raises:
        ConfigError: the user's command does not name the file.
    """
    if text not in allowed:
        with_it = f"allow it with --allow-file {shlex.quote(text)}, from Python with allow=({text!r},)"
        raise ConfigError(f"{given} {text!r:.200}: if you trust it, {with_it}.")


def require_function(path: str, name: str, packages: Collection[str]) -> None:
    """
    Args:
        packages: those that the user's command allows.

    Raises:
        ConfigError: `name` is not that of a function, or of the class of an environment, that is defined in one of them.
    """
    from gymnasium import Env, make, make_vec
    from gymnasium.vector import VectorEnv

    package = name.partition(":")[0].split(".")[0]
    if package not in packages:  # of an installed distribution, which is trusted with its choices only
        raise ConfigError(f"{path}={name:.200}: this run calls a function of {package}: if you trust it, {allow_with(package)}.")
    if name in GIVEN:  # by the user, to this process
        return
    module, _, qualified = name.partition(":")
    value = imported(path, module, qualified)
    makes = issubclass(value, Env | VectorEnv) if inspect.isclass(value) else package != "gymnasium" or value in (make, make_vec)
    if not (makes and is_defined_in(value, packages)) or is_method(path, module, qualified):
        raise ConfigError(
            f"{path}={name:.200} is no function, and no class of an environment, that is defined in a package which the command allows: a "
            "stored configuration may name nothing else, and of Gymnasium's functions only make and make_vec."
        )


def is_method(path: str, module: str, qualified: str) -> bool:
    """Whether a name is that of something inside of a class, or of another object, but for its static methods and the classes in it."""
    owner, _, name = qualified.rpartition(".")
    return bool(owner) and not isinstance(inspect.getattr_static(imported(path, module, owner), name, None), staticmethod | type)


def imported(path: str, module: str, name: str) -> Any:
    try:
        return found(f"{module}:{name}")
    except (Exception, SystemExit) as error:  # its module may raise anything
        raise ConfigError(f"{path}: {module}:{name} cannot be imported ({error}).") from error


def named(env: Config) -> Iterator[tuple[str, str, str]]:
    """(key, value, top-level package) of everything that `env` imports by name, besides its `_target_`s."""
    if env.get("package"):
        yield "package", env["package"], str(env["package"]).split(".")[0]
    if env.get("function"):
        yield "function", env["function"], str(env["function"]).partition(":")[0].split(".")[0]
    for path, _ in wrappers_of(env):
        yield "wrappers", path, path.split(".")[0]
    if ":" in str(env.get("id", "")):
        yield "id", env["id"], str(env["id"]).split(":")[0].split(".")[0]


def wrappers_of(env: Config) -> list[tuple[str, Any]]:
    """Path and keyword arguments of every wrapper, however it is written."""
    entries = env.get("wrappers") or []
    entries = entries if isinstance(entries, list) else [entries]
    pairs = [(entry.get("path"), entry.get("kwargs")) if isinstance(entry, dict) else (entry, None) for entry in entries]
    return [(str(path), kwargs) for path, kwargs in pairs if path]


def files(env: Config) -> Iterator[tuple[str, str, str]]:
    """(key, package that gets it, text) of every argument that may be read as a file, or as a module to import."""
    owners = [package for key, _, package in named(env) if key != "wrappers"]
    for text, _ in texts(env.get("kwargs")):
        if names_file(text):
            yield "kwargs", owners[-1] if owners else "gymnasium", text
    for path, kwargs in wrappers_of(env):
        for text, is_place in texts(kwargs):
            if is_place or names_file(text):
                yield "wrappers", path.split(".")[0], text


PLACES = ("folder", "path", "file")
"""In the name of a wrapper's argument, they say that its value is a file, even if there is none yet"""


def texts(value: object, is_place: bool = False) -> Iterator[tuple[str, bool]]:
    """Every text in nested mappings and lists, and whether the name of its argument says that it is a file."""
    if isinstance(value, str):
        yield value, is_place
    for key, item in value.items() if isinstance(value, dict) else ():
        yield from texts(item, any(word in str(key).lower() for word in PLACES))
    for item in value if isinstance(value, list) else ():
        yield from texts(item, is_place)


def names_file(text: str) -> bool:
    """Whether an environment may read the text as a file, or as a module to import ("module:name")."""
    return text.startswith((".", "~")) or any(c in text for c in (os.sep, ":", "\0")) or os.path.lexists(text)


# ---- how a user says it


def allow_with(package: str) -> str:
    """How a user says that a stored configuration may name a package."""
    return f"allow it with --allow-package {shlex.quote(package)}, from Python with allow=({json.dumps(package)},)"


def words_of_trust(config: Config) -> str:
    """Words with which a command accepts what this run names."""
    return "".join(f" {flag} {shlex.quote(name)}" for flag, name in needs_trust(config))


def argument_of_trust(config: Config) -> str:
    """The same for a call of `deeprl.load`, behind its other arguments."""
    names = [name for _, name in needs_trust(config)]
    return f", allow=({', '.join(map(json.dumps, names))},)" if names else ""


def needs_trust(config: Config) -> list[tuple[str, str]]:
    """What this run names that a user allows, each behind its flag: its environment, its files, and parts that are not deeprl's."""
    env, known = config["env"], folders.packages()
    targets = [str(value).split(".")[0] for key, value in flatten(config) if key.rpartition(".")[2] == "_target_"]
    packages = [package for key, _, package in named(env) if package not in known or key == "function"]
    found = [("--allow-package", name) for name in [*packages, *(name for name in targets if name not in known)]]
    found += [("--allow-file", text) for _, package, text in files(env) if package == "gymnasium"]
    return list(dict.fromkeys(found))
