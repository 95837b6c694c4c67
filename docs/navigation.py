"""Hook of MkDocs: the pages of docs/algorithms stand in the navigation in the order that their front matter says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent / "algorithms"


def on_config(config):
    """Fill the section that mkdocs.yml leaves with its index alone."""
    (section,) = (entry["Algorithms"] for entry in config.nav if "Algorithms" in entry)
    section += [f"algorithms/{path.name}" for path, _ in pages()]
    return config


def pages(folder: Path = FOLDER) -> list[tuple[Path, dict[str, Any]]]:
    """
    The pages and their front matter, in order.

    Raises:
        ValueError: a page has no front matter.
    """
    found = [(path, front_matter(path)) for path in folder.glob("*.md") if path.name != "README.md"]
    return sorted(found, key=lambda page: (page[1]["order"], page[0].name))


def front_matter(path: Path) -> dict[str, Any]:
    parts = path.read_text().split("---\n", 2)
    found = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    if not isinstance(found, dict) or not {"order", "papers"} <= found.keys():
        raise ValueError(f"{path} has no front matter with order and papers: see docs/algorithms/dqn.md")
    return found
