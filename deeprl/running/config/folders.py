"""Folders of configurations: that of deeprl, those of the command line (`--config-dir`), and those of installed distributions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from deeprl.errors import ConfigError, origin
from deeprl.system.terminal import say

CONFIGS = Path(str(resources.files("deeprl") / "configs"))
ENTRY_POINTS = "deeprl.configs"
"""Group of entry points. Each entry point names a package (`my_agents.configs`) with YAML files, in the layout of our `configs/`."""

_added: list[Path] = []  # global, because Hydra has one search path for the process


def add(folder: Path) -> None:
    """Add a folder of configurations to those that this process searches (`--config-dir`).

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"--config-dir={folder}: there is no such folder.")
    if folder.resolve() not in _added:
        _added.append(folder.resolve())


@cache
def announced() -> tuple[dict[str, Path], dict[str, str]]:
    """The packages of configurations that other distributions announce with the folder of each; and those that are left out with the
    reason, because a broken distribution must not stop a command that does not need it."""
    found, broken = dict[str, Path](), dict[str, str]()
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.value):
        try:
            found[point.value] = _folder(point.value)
        except (Exception, SystemExit) as error:
            name = point.dist.name if point.dist else point.name
            why = str(error) if isinstance(error, ConfigError) else f"it raised {origin(error)}: {error}"
            broken[point.value] = (
                f"the distribution {name} is left out with its options, because its package {point.value} (entry point {ENTRY_POINTS}) "
                f"cannot be used: {why}. Mend it, or remove it: pip uninstall {name}"
            )
            say(f"warning: {broken[point.value]}")
    return found, broken


def _folder(module: str) -> Path:
    """The folder of a package, whose parents are imported.

    Raises:
        ConfigError: there is no such package, or no such folder.
        Exception: whatever a parent raises when it is imported.
    """
    try:
        spec = find_spec(module)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module}.".startswith(f"{error.name}."):  # something else is missing, which a parent imports
            raise
        spec = None
    places = [*(spec.submodule_search_locations or ())] if spec else []
    if not places:
        raise ConfigError("there is no such package")
    if not Path(places[0]).is_dir():
        raise ConfigError(f"{places[0]} is no folder")
    return Path(places[0])


def extensions() -> dict[str, Path]:
    """The packages of configurations that other distributions announce, and the folder of each."""
    return announced()[0]


def left_out(package: str = "") -> str:
    """The reasons why distributions are left out, as the end of a message about a missing option or class; empty if none is.

    Args:
        package: only of the distribution whose configurations lie in this package.
    """
    reasons = [reason for module, reason in announced()[1].items() if package in ("", module.partition(".")[0])]
    return "".join(f" T{reason[1:]}." for reason in reasons)


def packages(*allowed: str) -> tuple[str, ...]:
    """Packages whose classes a stored configuration may name: deeprl, the packages that the command line allows, and those of extensions,
    because a user who installs a distribution trusts it."""
    return ("deeprl", *dict.fromkeys(module.partition(".")[0] for module in extensions()), *allowed)


def folders() -> list[Path]:
    """All folders in the order of search. That of deeprl comes first, so that no extension replaces an option of deeprl."""
    return [CONFIGS, *_added, *extensions().values()]


def file(group: str, name: str) -> Path | None:
    """The file of the option `name` (scalar) of `group` (agent/head): the first one that a folder holds, or None."""
    return next((path for folder in folders() if (path := folder / group / f"{name}.yaml").is_file()), None)


def behind(group: str, name: str) -> list[Path]:
    """Files of this option in folders of the command line, which nothing reads, because `file` finds another one before them."""
    first = file(group, name)
    return [path for folder in _added if first and (path := folder / group / f"{name}.yaml").is_file() and not path.samefile(first)]


def is_group(name: str) -> bool:
    """Whether a folder of this name holds options: agent/head."""
    return any((folder / name).is_dir() for folder in folders())


def stamp(found: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file does."""
    return found.st_mtime_ns, found.st_size, found.st_ino


SETTLED = 2_000_000_000
"""Nanoseconds after which a folder that is changed again has another time of change, on any file system"""
_looked: dict[str, tuple[tuple[int, int, int], list[str], list[str]]] = {}


def _look(place: str) -> tuple[list[str], list[str]]:
    """Subfolders and YAML files of a folder. It is read again when it changes, and each time while it is new or holds links, which change
    elsewhere."""
    now = stamp(os.stat(place))
    if place in _looked and _looked[place][0] == now:
        return _looked[place][1:]
    below, found, lasting = list[str](), list[str](), time.time_ns() - now[0] > SETTLED
    with os.scandir(place) as entries:
        for entry in entries:
            lasting = lasting and not entry.is_symlink()
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif entry.name.endswith(".yaml") and entry.is_file():  # no link that leads nowhere
                found.append(entry.path)
    if lasting:
        _looked[place] = now, below, found
    return below, found


def files(folder: Path) -> Iterator[str]:
    """Every YAML file of a folder and its subfolders; without those that cannot be read."""
    below = [str(folder)]
    for place in below:
        with suppress(OSError):
            folders, found = _look(place)
            below += folders
            yield from found


def stamps(folder: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """As `files`, with what changes when the file does."""
    for path in files(folder):
        with suppress(OSError):
            yield path, stamp(os.stat(path))


def names(group: str = "") -> Iterator[str]:
    """The options of a group and its subgroups, as their files lie in it: `dqn` and `head/scalar` of agent. Two folders may hold one."""
    for place in (folder / group for folder in folders()):
        yield from (path[len(str(place)) + 1 : -len(".yaml")] for path in files(place))


def in_checkout() -> bool:
    """Whether this is a checkout of the repository, and not an installed wheel."""
    return (CONFIGS.parent.parent / "pyproject.toml").is_file()


def source(path: Path) -> str:
    """Origin of an option for a reader: configs/agent/dqn.yaml in a checkout, my_agents.configs: agent/mine.yaml of an installed
    distribution, or a path."""
    if path.is_relative_to(CONFIGS):
        return f"{'configs/' if in_checkout() else 'deeprl.configs: '}{path.relative_to(CONFIGS)}"
    for module, folder in extensions().items():
        if path.is_relative_to(folder):
            return f"{module}: {path.relative_to(folder)}"
    return str(path)
