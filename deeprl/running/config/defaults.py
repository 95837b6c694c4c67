"""Which files make a configuration, in which order, and under which keys: Hydra's list of defaults, for files of the usual forms.

An entry of `defaults` is `name`, `/group/name`, `_self_`, or `group: name` with `override`, `optional` and `@package`. Entries are visited
from the last to the first, so that what an experiment overrides holds for the agent that stands before it; one with an interpolation comes
after all others of its list. In files of `env` and `agent` an entry may name any environment and any agent (`anchored`). Hydra has more
forms, and copies all choices at each file, which takes a tenth of a second. What has another form, or is wrong, is `Unusual`: Hydra
composes it, and says what is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from hydra.plugins.config_source import ConfigSource
from omegaconf import OmegaConf

from deeprl.running.config import folders
from deeprl.running.config.menu import GAMES, games, slots_of
from deeprl.running.config.parsed import Content, parsed

ENV, AGENT = "env", "agent"
FAMILIES = (ENV, AGENT)
"""Groups that have options in folders below theirs"""


class Unusual(Exception):
    """Files that Hydra composes."""


@dataclass(frozen=True)
class File:
    package: str | None
    """Of its first line, `# @package _global_`"""
    defaults: list[Any]
    content: Content


def anchored(folder: str, defaults: list[Any]) -> list[Any]:
    """Entries of a file of a folder; environments and agents in the form that Hydra needs, `/env/tensor/cartpole@_here_`. With
    `tensor/cartpole` it would put the keys at `env.tensor`, and look for the `_base` from which that file starts in `env/tensor`. In a file
    of a family of agents slots too, `/agent/chain@chain`: Hydra would look in `agent/FAMILY`, where another file starts from it."""
    root, _, family = folder.partition("/")
    if root not in FAMILIES or all(each == "_self_" for each in defaults):
        return defaults
    if root == AGENT and family.partition("/")[0] in slots_of(AGENT):
        return defaults
    found = [of_slot(each) if isinstance(each, dict) and family and root == AGENT else each for each in defaults]
    return [f"/{root}/{each}@_here_" if (family or "/" in str(each)) and is_file(root, each) else each for each in found]


def is_file(root: str, entry: Any) -> bool:
    """Whether it is the name of a file of `env` or `agent`, without anything else."""
    if not isinstance(entry, str) or entry == "_self_" or not re.fullmatch(r"\w[\w./-]*", entry):
        return False
    return bool(folders.file(root, entry)) or (f"{root}/{entry}".rpartition("/")[0] == GAMES and entry.rpartition("/")[2] in games())


def of_slot(entry: dict) -> dict:
    """An entry `chain: iterated` of a file of agents, with or without a place, by the path of its slot."""
    found = {}
    for words, option in entry.items():
        *keywords, path = str(words).split(" ")
        slot, _, place = path.partition("@")
        absolute = slot.startswith("/")
        found[words if absolute else " ".join([*keywords, f"/{AGENT}/{slot}@{place or slot.replace('/', '.')}"])] = option
    return found


def load(group: str, name: str) -> File | None:
    """A file as it is now; None if there is none."""
    path = folders.file(group, name)
    if path is None:
        family, _, game = f"{group}/{name}".rpartition("/")
        return File(None, anchored(family, ["_atari", "_self_"]), {"game": game}) if family == GAMES and game in games() else None
    found = parsed(path)
    content = found.content
    if not isinstance(content, dict) or not isinstance(defaults := content.get("defaults", []), list):
        raise Unusual(path)
    package = ConfigSource._get_header_dict(found.head)["package"]
    absolute = package and f"_global_.{package}".replace("_global_._global_", "_global_")
    folder = f"{group}/{name}".rpartition("/")[0]
    return File(absolute, anchored(folder, defaults), {key: value for key, value in content.items() if key != "defaults"})


@dataclass(frozen=True)
class Entry:
    """An entry of a list of defaults."""

    group: str
    """As it is written, but without the / of an absolute one"""
    name: str | None
    absolute: bool = False
    package: str | None = None
    optional: bool = False
    override: bool = False
    chosen: bool = True
    """It is an option of a slot."""

    def within(self, group: str) -> str:
        """The group of its file, if its list is that of a file of `group`."""
        return self.group if self.absolute or not group else f"{group}/{self.group}".rstrip("/")

    def place(self, parent: str, of_file: str | None = None) -> str:
        """Where its keys stand, if those of its list stand at `parent`: agent.head."""
        own = next(each for each in (self.package, of_file, self.group.replace("/", ".")) if each is not None)
        joined = ".".join(each for each in (parent, own) if each)
        start = joined.rfind("_global_")
        return joined if start < 0 else joined[start + len("_global_.") :]

    def key(self, group: str, parent: str) -> str:
        """As an override names it: agent/torso@agent.actor_torso."""
        where, place = self.within(group), self.place(parent)
        return where if where.replace("/", ".") == place else f"{where}@{place or '_global_'}"


def entry(written: Any) -> Entry:
    """An entry as YAML has it, text or {words: name}."""
    chosen = isinstance(written, dict)
    if chosen and len(written) != 1:
        raise Unusual(written)
    words, name = next(iter(written.items())) if chosen else (written, None)
    if not isinstance(words, str) or not isinstance(name, str | None) or any(each in words for each in ("_group_", "_name_", ":", "${")):
        raise Unusual(written)
    front, at, package = words.partition("@")
    *keywords, path = front.split(" ")
    if {*keywords} - {"optional", "override"}:
        raise Unusual(written)
    group, absolute = path.removeprefix("/"), path.startswith("/")
    if not chosen:
        group, _, name = group.rpartition("/")
    own = package.removeprefix("_here_") if at else None
    return Entry(group, name, absolute, own, "optional" in keywords, "override" in keywords, chosen)


SELF = Entry("", "_self_", chosen=False)
Files = list[tuple[str, Content]]
"""Places and contents, the stronger ones last"""


class Defaults:
    """The files of `configs/train.yaml`, in order.

    Args:
        options: of the command line, as {"agent/head": "scalar"}.
    """

    def __init__(self, options: dict[str, str | None]):
        self.overrides, self.used = dict(options), set[str]()
        self.choices: dict[str, str | None] = {}
        self.files = self.visit(Entry("", "train", chosen=False), "", "")
        self.of_hydra = {key: name for key, name in self.overrides.items() if key.startswith("hydra/")}
        if self.overrides.keys() - self.used - self.of_hydra.keys():
            raise Unusual(self.overrides)  # nothing has the slot

    def visit(self, at: Entry, group: str, parent: str, late: bool = False) -> Files:
        """
        Args:
            group, parent: of the file with the entry: its group, and where its keys stand.
            late: the entry is an interpolation, or one is on the way to it, after which nothing is overridden any more.
        """
        if at.chosen:
            key = at.key(group, parent)
            if key in self.choices:
                raise Unusual(key)
            self.choices[key] = at.name
        file = load(at.within(group), at.name) if at.name is not None else None
        if file is None:
            if at.name is not None and not at.optional:
                raise Unusual(at)
            return []
        group, place = at.within(group), at.place(parent, file.package)
        listed = self._listed([entry(each) for each in file.defaults], group, place, late)
        found, waiting = dict[int, Files](), dict[int, Entry]()
        for number, each in reversed([*enumerate(listed)]):
            if each.chosen and (key := each.key(group, place)) in self.overrides:
                each = replace(each, name=self.overrides[key])
                self.used.add(key)
            if "${" in (each.name or ""):
                waiting[number] = each
            else:
                found[number] = [(place, file.content)] if each == SELF else self.visit(each, group, place, late)
        for number, each in waiting.items():
            asked = {key: option for key, option in self.choices.items() if key in (each.name or "")}
            name = OmegaConf.create({**asked, "defaults": each.name})["defaults"]
            found[number] = self.visit(replace(each, name=name), group, place, late=True)
        return [each for number in range(len(listed)) for each in found[number]]

    def _listed(self, entries: list[Entry], group: str, place: str, late: bool) -> list[Entry]:
        """The entries that are visited. Those that override others are noted; they stand at the end, where `_self_` may stand too."""
        listed, overrides = ([each for each in entries if each.override == wanted] for wanted in (False, True))
        first = entries.index(overrides[0]) if overrides else len(entries)
        if any(not each.override and each != SELF for each in entries[first:]) or (late and overrides) or listed.count(SELF) > 1:
            raise Unusual(entries)
        for each in overrides:
            self.overrides.setdefault(each.key(group, place), each.name)
        return listed if SELF in listed else [*listed, SELF]
