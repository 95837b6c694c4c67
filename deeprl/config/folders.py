"""Folders of configurations: that of deeprl, those of the command line (`--config-dir`), and those of installed distributions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from deeprl.errors import ConfigError

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
def extensions() -> dict[str, Path]:
    """The packages of configurations that other distributions announce, and the folder of each.

    Raises:
        ConfigError: an announced package does not exist.
    """
    found = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.value):
        try:
            spec = find_spec(point.value)
        except ImportError:
            spec = None
        places = spec.submodule_search_locations if spec else None
        if not places:
            name = point.dist.name if point.dist else point.name
            raise ConfigError(f"the distribution {name} announces {point.value} under {ENTRY_POINTS}, but there is no such package.")
        found[point.value] = Path(next(iter(places)))
    return found


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


def files(group: str = "") -> Iterator[Path]:
    """Every file of a group and its subgroups, relative to the folder of the group. A file that two folders hold is given twice."""
    for folder in folders():
        yield from (path.relative_to(folder / group) for path in (folder / group).rglob("*.yaml"))


def source(path: Path) -> str:
    """Origin of an option for a reader: configs/agent/dqn.yaml, my_agents.configs: agent/mine.yaml, or a path."""
    if path.is_relative_to(CONFIGS):
        return f"configs/{path.relative_to(CONFIGS)}"
    for module, folder in extensions().items():
        if path.is_relative_to(folder):
            return f"{module}: {path.relative_to(folder)}"
    return str(path)


class SearchPath(SearchPathPlugin):
    """Hydra asks this plugin for folders before each composition."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in folders()[1:]:
            search_path.append(provider="deeprl", path=f"file://{folder}")


def register() -> None:
    """Idempotent."""
    Plugins.instance().register(SearchPath)
