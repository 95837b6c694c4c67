"""The menu: groups of `configs/` and their options. A file whose name starts with `_` is not an option, but a base of other files."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path

from deeprl.running.config.folders import folders, names, stamps

GAMES = "env/atari"
"""The group whose options are the installed games, which have no files"""


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
    """The files of a group, bases of other files included. Those of a slot below it are none of its own: agent/head/scalar.yaml is no
    option of agent, but agent/FAMILY/mine.yaml is one, and env/classic/cartpole.yaml is one of env."""
    found = {*names(group)}
    within = {name.partition("/")[0] for name in found if "/" in name}
    below = within and slots_of(group.partition("/")[0])  # a slot has no folders, and need not ask all files of the agent
    return {name for name in found if "/" not in name or name.partition("/")[0] not in below}


def groups() -> list[str]:
    """Folders that hold options. One of `agent` that no file of it lists is no slot, but holds agents of a family."""
    slots = {f"agent/{slot}" for slot in slots_of("agent")}
    found = {name.rpartition("/")[0] for name in names()}
    families = {group for group in found - slots if group.rpartition("/")[0] == "agent"}
    return sorted(found - families - {""} | {"env"})


def slots_of(group: str) -> set[str]:
    """Names that files of a group list in their `defaults`, the slots below it among them."""
    return {slot for folder in folders() for path, now in stamps(folder / group) for slot in _listed(path, now)}


DEFAULTS = re.compile(r"^defaults:(.*(?:\n(?:[ -].*)?)*)", re.MULTILINE)
SLOT = re.compile(r"[ \[](?:override )?(?:/agent/)?(\w+)(?:@[\w.]+)?: ")


@cache
def _listed(path: str, now: tuple[int, ...]) -> frozenset[str]:
    """Slots in the `defaults` of a file as it is now, found without a parser, because every command reads all files."""
    found = DEFAULTS.search(Path(path).read_text("utf-8", "replace"))
    return frozenset(SLOT.findall(re.sub(" #.*", "", found[1]) if found else ""))
