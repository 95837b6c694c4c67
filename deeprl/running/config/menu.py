"""The menu: groups of `configs/` and their options. A file whose name starts with `_` is not an option, but a base of other files."""

from __future__ import annotations

import importlib
from functools import cache

from deeprl.running.config.folders import names

FAMILIES = ("lab",)
"""Folders of `agent` that hold recipes, not options of a slot"""


@cache
def games() -> frozenset[str]:
    """Names of the installed Atari games, which are options without files."""
    return frozenset(importlib.import_module("deeprl.envs.games").GAMES)  # by name, because the package config may not import envs


def options(group: str) -> list[str]:
    """Options of a group: files, and the Atari games."""
    found = option_files(group)
    if group == "env":
        found |= {f"atari/{game}" for game in games()}
    return sorted(name for name in found if not name.rpartition("/")[2].startswith("_"))


def option_files(group: str) -> set[str]:
    """The files of a group, bases of other files included."""
    return {name for name in names(group) if not _nested(name, group)}


def _nested(name: str, group: str) -> bool:
    """Whether a file belongs to a subgroup: agent/head/scalar.yaml is no option of agent, but agent/lab/dtr.yaml is one, and
    env/classic/cartpole.yaml is one of env."""
    first, *below = name.split("/")
    if group == "agent" and first in FAMILIES:
        return False
    return bool(below) and (group.startswith("agent") or first == "protocol")


def groups() -> list[str]:
    families = {f"agent/{family}" for family in FAMILIES}
    return sorted({name.rpartition("/")[0] for name in names()} - families - {""} | {"env"})
