"""Keys in files of configurations that a user or another distribution wrote. Hydra takes every key for a right one; here a key that no
option has is refused with the file and its line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from deeprl.errors import ConfigError
from deeprl.running.config import tuned
from deeprl.running.config.menu import groups, option_files, options
from deeprl.running.config.own_files import CLASSES, line_of, of_users
from deeprl.running.config.rules import FIXED, get, is_within, nearest
from deeprl.running.config.settings import is_setting
from deeprl.running.runs.config_file import Config, flatten
from deeprl.running.runs.moved import renamed

Source = tuple[str, str, str]
"""Group and option of a file, and what stands in front of its keys in a configuration."""


@dataclass(frozen=True)
class OwnEntry:
    """What stands at the margin of a file: a key, or a setting, whose keys count where its option is chosen.

    Attributes:
        word: `steps`, `agent`, or `agent/chain=polyak`.
        content: keys below `place`.
        place: what stands in front of them in a configuration: agent.chain. of agent/chain=polyak.
        group, option: of a setting.
    """

    path: Path
    word: str
    content: Config
    place: str
    group: str = ""
    option: str = ""

    def at(self, name: str) -> str:
        """Words that say where a key of the content stands."""
        return f"{self.path}, line {line_of(self.path, f'{self.word}.{name}' if self.group else name)}"

    def check(self, known: set[str], right: Collection[str], name: str, config: Config) -> None:
        """
        Args:
            known: groups of options.
            right: names of keys in a configuration, of which this one is one if it is no typo.
            name: of a key of the content.
            config: the run's.

        Raises:
            ConfigError: there is no such key; or it belongs to a slot, whose options have different keys, and stands under none of them; or
                it is written with dots, which sets nothing, but within a dictionary that is a value, where names are free.
        """
        full = f"{self.place}{name}"
        if not any(is_within(full, each) or is_within(each, full) for each in right) and not is_taken(full, config):
            raise ConfigError(f"{self.at(name)}: there is no key {full}.{renamed(full) or nearest(full, right)}")
        slot = "replay" if full.startswith("replay.") else "/".join(full.split(".")[:-1][:2])  # agent.rate may be a key, not a slot
        if not self.group and slot.split("/")[0] in ("agent", "replay") and _group_of_slot(slot, known) in known - {"agent"}:
            raise ConfigError(
                f"{self.at(name)}: {full} stands under no option of {slot}. Write it under the one that it is for, "
                f"{slot}=OPTION: {{{full.rpartition('.')[2]}: ...}}, at the margin of the file."
            )
        values = [get(self.content, each.removeprefix(self.place)) for each in right if is_within(full, each)]
        if any(is_within(name, each) for each in _with_dots(self.content)) and not any(isinstance(value, dict) for value in values):
            *outer, last = name.split(".")
            raise ConfigError(
                f"{self.at(name)}: a key with dots sets nothing in a file. Write "
                f"{''.join(f'{each}: {{' for each in outer)}{last}: ...{'}' * len(outer)}."
            )


def check_keys(sources: Iterable[Source], config: Config) -> None:
    """
    Args:
        config: the run's, composed of these files.

    Raises:
        ConfigError: a file of a user sets a key that no option has, or one that sets nothing where it stands.
    """
    own = [(path, *source) for source in sources if (path := of_users(*source[:2]))]
    if not own:
        return
    known, below = {*groups()}, cache(keys_below)  # folders are read once
    for path, group, name, prefix in own:
        for entry in _entries(path, tuned.content(group, name), prefix, known):
            for key, _ in flatten(entry.content):
                if entry.group:
                    right = {f"{entry.place}{each}" for each in tuned.values(entry.group, entry.option) if not is_setting(each)}
                else:
                    full = f"{prefix}{key}"
                    right = below(_group_of(full, known)) if full.split(".")[0] in CLASSES else set(FIXED)
                entry.check(known, right, key, config)


def _entries(path: Path, content: Mapping[Any, Any], prefix: str, known: Collection[str]) -> Iterator[OwnEntry]:
    """What stands at the margin of a file, but for lists of defaults and what an option needs in a budget.

    Raises:
        ConfigError: a setting is of no option that exists, or no keys stand under it.
    """
    for word, value in ((str(word), value) for word, value in content.items()):
        if word in ("defaults", "hydra") or (prefix and word.startswith("budget=")):
            continue
        if not is_setting(word):
            yield OwnEntry(path, word, {word: value}, prefix)
            continue
        slot, _, option = word.partition("=")
        group, line = _group_of_slot(slot, known), f"{path}, line {line_of(path, word)}"
        if slot in ("budget", "tuned", "experiment"):
            raise ConfigError(f"{line}: {word} is no setting: it stands in files of options.")
        offered = [*options(group), *(name for name in option_files(group) if name.startswith("_"))]
        if option not in offered:
            raise ConfigError(f"{line}: {group} has no option {option}.{renamed(word) or nearest(option, offered)}")
        if not isinstance(value, dict):
            raise ConfigError(f"{line}: keys belong under {word}. Write {word}: {{key: value}}.")
        yield OwnEntry(path, word, value, f"{slot.replace('/', '.')}.", group, option)


def _with_dots(content: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Names of keys that are written with dots, `evaluation.every`, in place of one key below the other."""
    for name, value in content.items():
        if "." in str(name) and not is_setting(str(name)):
            yield f"{above}{name}"
        elif isinstance(value, dict):
            yield from _with_dots(value, f"{above}{name}.")


def is_taken(key: str, config: Config) -> bool:
    """Whether the class that the run has there takes a key, although no file lists it."""
    from deeprl.running.config.instantiate import accepted, resolve  # torch, for which pages do not wait

    part, _, name = key.rpartition(".")
    target = get(config, f"{part}._target_")
    return target is not None and name in accepted(resolve(target, part, None))


def _group_of_slot(place: str, known: Collection[str]) -> str:
    """The group of the options of a slot: agent/torso of agent/actor_torso."""
    return place if place in known else f"{place.partition('/')[0]}/{place.rpartition('_')[2]}"


def _group_of(key: str, known: Collection[str]) -> str:
    """The group that holds a key: agent/chain of agent.chain.length."""
    parts = key.split(".")
    return next((name for end in range(len(parts) - 1, 0, -1) if (name := "/".join(parts[:end])) in known), parts[0])


def keys_below(group: str) -> set[str]:
    """Full names of all keys that options of a group set, and of the slots below it."""
    place, found = group.replace("/", "."), {name.replace("/", ".") for name in groups() if name.startswith(f"{group}/")}
    for name in option_files(group):
        keys = (key for key, _ in flatten(tuned.content(group, name)) if not is_setting(key))
        found |= {f"{place}.{key}" for key in keys if key.split(".")[0] != "defaults"}
        found |= {slot.replace("/", ".") for slot in tuned.slots(group, name)}
    return found
