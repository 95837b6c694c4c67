"""Hook of MkDocs: the pages of docs/algorithms stand in the navigation in the order that their front matter says. What it says of each
paper is read by `benchmarks.tables` and by tests."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent / "algorithms"


@dataclass(frozen=True)
class Paper:
    """An entry of `papers` in the front matter of a page."""

    page: Path
    paper: str
    command: str
    """Words behind `python train.py`; or a whole line, of what has no agent"""
    verdict: str
    agents: tuple[str, ...] = ()
    options: str = ""
    first: str = ""
    """The same words of a run from which `command` starts"""

    @property
    def lines(self) -> list[str]:
        """What is typed, in order."""
        found = [words for words in (self.first, self.command) if words]
        return [words if words.startswith("python ") else f"python train.py {words}" for words in found]


def on_config(config):
    """Fill the section that mkdocs.yml leaves with its index alone."""
    (section,) = (entry["Algorithms"] for entry in config.nav if "Algorithms" in entry)
    section += [f"algorithms/{path.name}" for path in pages()]
    return config


def pages(folder: Path = FOLDER) -> dict[Path, list[Paper]]:
    """
    The pages with their papers, in order.

    Raises:
        ValueError: a page has no front matter, or an entry lacks a key or has one too many.
    """
    found = {path: front_matter(path) for path in folder.glob("*.md") if path.name != "README.md"}
    ordered = sorted(found, key=lambda path: (found[path]["order"], path.name))
    return {path: [read(path, entry) for entry in found[path]["papers"]] for path in ordered}


def papers(folder: Path = FOLDER) -> list[Paper]:
    return [paper for page in pages(folder).values() for paper in page]


def front_matter(path: Path) -> dict[str, Any]:
    parts = path.read_text().split("---\n", 2)
    found = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    if not isinstance(found, dict):
        raise ValueError(f"{path} has no front matter: see docs/algorithms/dqn.md")
    for key in ("order", "papers"):
        if key not in found:
            raise ValueError(f"{path}: {key} is missing in the front matter, see docs/algorithms/dqn.md")
    return found


def read(path: Path, entry: dict[str, Any]) -> Paper:
    keys = {field.name: field.default is MISSING for field in fields(Paper) if field.name != "page"}
    for key in [key for key, needed in keys.items() if needed and not entry.get(key)]:
        raise ValueError(f"{path}: {key} is missing in the front matter, in the entry {entry.get('paper', entry)}")
    for key in entry.keys() - keys.keys():
        raise ValueError(f"{path}: {key} in the front matter is none of {', '.join(keys)}")
    return Paper(path, **{**entry, "agents": tuple(entry.get("agents", ()))})
