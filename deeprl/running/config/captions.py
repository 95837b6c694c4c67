"""Comments of the configuration files as text, for `--help` and `deeprl list`.

The caption of a file is its first comment, up to a line with more than one space after the #. The comment of a slot follows its entry in
`defaults`; the comment of a key follows its value.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from deeprl.running.config import folders

LINE = re.compile(r"( *)(- )?([\w@]+): *(.*?)(?: +# (.*))?")


class Caption(NamedTuple):
    """A slot or a key with its default and the comment behind it."""

    name: str
    value: str
    comment: str


def caption(path: Path) -> str:
    """The first comment of a file."""
    words = []
    for line in path.read_text("utf-8", "replace").splitlines():  # one file of another's must not end the list
        if not line.startswith("# ") or line.startswith("#  "):
            break
        if not line.startswith("# @package"):
            words.append(line[2:])
    return " ".join(words)


def slots(file: str) -> list[Caption]:
    """The slots in the `defaults` of a file, such as "train" or "agent/dqn", that have a comment."""
    owner = file.split("/")[0] if "/" in file else ""  # agent/FAMILY/mine: the group is agent
    found = [entry for entry, default in _entries(file) if default and entry.comment]
    return [entry._replace(name=f"{owner}/{entry.name}".replace("@", f"@{owner}.")) if owner else entry for entry in found]


def keys(file: str, prefix: str = "") -> list[Caption]:
    """The keys of a file that have a comment."""
    return [entry._replace(name=prefix + entry.name) for entry, default in _entries(file) if not default and entry.comment]


def _entries(file: str) -> list[tuple[Caption, bool]]:
    """Every entry, and whether it belongs to `defaults`."""
    found: list[tuple[Caption, bool]] = []
    parents: list[tuple[int, str]] = []
    path = folders.file("", file)
    for line in path.read_text("utf-8", "replace").splitlines() if path else ():
        if match := LINE.fullmatch(line):
            indent, dash, name, value, comment = match.groups()
            parents = [parent for parent in parents if parent[0] < len(indent)]
            full = ".".join([*(parent for _, parent in parents), name])
            if dash:
                found.append((Caption(name, value, comment or ""), True))
            else:
                found.append((Caption(full, value, comment or ""), False))
                parents.append((len(indent), name))
    return found
