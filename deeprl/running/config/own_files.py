"""Files of configurations that a user or another distribution wrote. Hydra takes a list for a file of keys, an option without a class for
one, and text for a choice; here each of these is refused with the file, and the line where one is at fault. Keys are looked at in
`deeprl.running.config.own_keys`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deeprl.errors import ConfigError
from deeprl.running.config import folders, tuned
from deeprl.running.config.menu import groups, options
from deeprl.running.config.rules import get, nearest
from deeprl.running.runs.config_file import Config, flatten

FEW = 12
"""Options that a message lists"""


def of_users(group: str, name: str) -> Path | None:
    """The file of an option, if it is none of deeprl's."""
    path = folders.file(group, name)
    return None if path is None or path.is_relative_to(folders.CONFIGS) else path


def check_choices(group: str, name: str, place: str = "") -> None:
    """
    Args:
        group, name: of a chosen file.
        place: where its keys stand, if not where its group says.

    Raises:
        ConfigError: the file, or one from which it starts, is a user's and chooses an option as it sets a key: `agent: dqn` in an
            experiment, `head: quantile` in an agent. Text would stand where the keys of the option belong. The message has the entry of its
            defaults that chooses the option. Tuned settings, which follow from an agent and an environment, can choose none.
    """
    if of_users(group, name) is None:
        return
    known, prefix = groups(), "" if group in ("experiment", "tuned") else f"{place or group.replace('/', '.')}."
    for each in _lineage(group, name):
        path = of_users(group, each)
        if path is None:
            continue
        for key, value in flatten(_readable(group, each)):
            if not prefix and value is None and key in CLASSES:
                raise ConfigError(f"{path}, line {line_of(path, key)}: {key}: null, and every run needs {key}. Leave the key out.")
            if not prefix and isinstance(value, int | float) and key in CLASSES:
                raise ConfigError(f"{path}, line {line_of(path, key)}: {key}: {value}, where the keys of {key} belong. Leave it out.")
            slot = key if "/" in key else f"{prefix}{key}".replace(".", "/")
            offered = options(slot) if slot in known else []
            if isinstance(value, str) and "${" not in value and (value in offered or (offered and slot in (*CLASSES, "budget"))):
                line, instead = line_of(path, key), _instead(group, slot, value, prefix)
                raise ConfigError(f"{path}, line {line}: {key}: {value} sets a key, and chooses no option.{instead}")


def _instead(group: str, slot: str, value: str, prefix: str) -> str:
    """The entry of a list of defaults that chooses the option which a file means.

    Args:
        group: of the file.
        prefix: agent. for a file of agents, in whose defaults slots have their own names.
    """
    if slot == "budget":
        return f" A file chooses no budget: give budget={value} on the command line."
    if group == "tuned":
        return f" Tuned settings choose no options: give {slot}={value} on the command line, or in an experiment."
    offered = options(slot)
    short = {option.rpartition("/")[2]: option for option in reversed(offered)}  # the first of a name
    near = "" if value in offered else nearest(value, short, short)
    option = value if value in offered else near.removeprefix(" Did you mean ").removesuffix("?") or "OPTION"
    listed = "" if value in offered or near else f" {slot} takes {', '.join(offered)}." if len(offered) <= FEW else ""
    entry = slot.removeprefix(prefix.replace(".", "/")) if prefix else f"/{slot}"
    return f"{near}{listed} Options are chosen in the list of defaults: - override {entry}: {option}"


def _lineage(group: str, name: str) -> list[str]:
    """A file, and those of its group that it starts from; of one that cannot be read, itself."""
    try:
        return tuned.lineage(name, group)
    except tuned.UNREADABLE:
        return [name]


def _readable(group: str, name: str) -> Config:
    """Content of a file; empty if it cannot be read, which the composition tells."""
    try:
        return {str(key): value for key, value in tuned.content(group, name).items() if key != "defaults"}
    except tuned.UNREADABLE:
        return {}


def check_content(path: Path) -> None:
    """
    Raises:
        ConfigError: the file is not UTF-8, or holds something else than keys with values.
    """
    data = path.read_bytes()
    try:
        root = yaml.compose(data.decode(), yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: byte 0x{data[error.start]:02x} is no UTF-8. Save the file as UTF-8.") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "text"
        raise ConfigError(f"{path}, line {root.start_mark.line + 1}: {kind} stands where keys belong. Write key: value.")


def check_chosen(chosen: Mapping[str, str], config: Config) -> None:
    """
    Args:
        chosen: {"agent/backup": "mine", ...}, and agent/torso@agent.actor_torso where a slot has the options of another.
        config: composed of them.

    Raises:
        ConfigError: a chosen file of a user has something else than keys, names no class in a slot whose options are classes, or has the
            name of an option that is found before it.
    """
    for slot, option in chosen.items():
        group, _, place = slot.partition("@")
        check_choices(group, option, place)
        path = of_users(group, option)
        first = folders.file(group, option)
        for other in folders.behind(group, option):
            if first and other.read_bytes() != first.read_bytes():  # a copy of all our options is taken
                before = folders.source(first)
                raise ConfigError(
                    f"{other} has the name of an option that comes before it, {before}, and is not read: give it another name."
                )
        if path is None:
            continue
        check_content(path)
        if group == "experiment" and not is_global(path) and tuned.content(group, option).keys() - {"defaults"}:
            raise ConfigError(f"{path}: its keys go below `experiment`, where nothing reads them: begin it with # @package _global_")
        part = get(config, place or group.replace("/", "."))
        if group.split("/")[0] in CLASSES and _has_classes(group) and not (isinstance(part, dict) and part.get("_target_")):
            raise ConfigError(f"{path}: {slot}={option} names no class. Add a line _target_: my_module.MyClass.")


def is_global(path: Path) -> bool:
    """Whether a file has the header `# @package _global_`, which Hydra reads before the first key."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    head = itertools.takewhile(lambda line: not line or line.startswith("#"), lines)
    return any(line.lstrip("#").split() == ["@package", "_global_"] for line in head)


CLASSES = ("agent", "env", "replay", "collect", "accelerate", "learner", "logger")
"""Slots whose options are classes"""


def _has_classes(group: str) -> bool:
    """Whether our own options of a group name classes, in contrast to those of env/protocol."""
    return any("\n_target_:" in f"\n{path.read_text('utf-8')}" for path in (folders.CONFIGS / group).glob("*.yaml"))


def fault(error: Exception) -> str:
    """Message about a composition that ended with `error` in a file of a user: text that is no UTF-8, or a circle of defaults.

    Raises:
        ConfigError: of `check_content`.
    """
    for folder in folders.folders()[1:]:
        for path in sorted(folder.rglob("*.yaml")):
            if isinstance(error, UnicodeDecodeError):
                check_content(path)
            else:
                group = str(path.parent.relative_to(folder))
                if circle := circle_of(group, path.stem):
                    return f"{path}: its defaults lead back to it, {' > '.join(circle)}. Take one of these out."
    return f"a configuration cannot be read: {type(error).__name__}: {error}"


def circle_of(group: str, name: str) -> list[str]:
    """Options of a group that start from each other, from `name` to `name`; empty if those of `name` end."""
    paths = [[name]]
    for path in paths:
        for start in tuned.starts(group, tuned.content(group, path[-1])):
            if start == name:
                return [*path, start]
            if start not in path:
                paths.append([*path, start])
    return []


def line_of(path: Path, key: str) -> int:
    """The line of a file in which a key stands."""
    node: Any = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    line = 1
    while key and isinstance(node, yaml.MappingNode):
        entries = {name.value: (name, value) for name, value in node.value}
        word = next((each for each in entries if key == each or key.startswith(f"{each}.")), None)  # a key may have dots
        if word is None:
            break
        name, node = entries[word]
        line, key = name.start_mark.line + 1, key[len(word) + 1 :]
    return line
