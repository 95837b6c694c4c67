"""The folders that hold configurations: ours, and the user's own (`--config-dir`, `hydra.searchpath`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from deeprl.config.rules import CONFIGS

folders: list[Path] = [CONFIGS]
"""Searched in this order. A list of the process, because a resolver is handed nothing but its arguments."""


def search(paths: Iterable[str]) -> None:
    """Have these and ours, in place of what was searched before."""
    folders[1:] = [Path(path) for path in paths if Path(path) != CONFIGS]


def named(overrides: Iterable[str]) -> list[str]:
    """Folders that overrides add: /mine of hydra.searchpath=[file:///mine]."""
    return [path for o in overrides if "hydra.searchpath=" in o for path in re.findall(r"file://([^],'\"]+)", o)]


def file_of(option: str) -> Path | None:
    """The first file of an option, such as "agent/dqn"."""
    return next((path for folder in folders if (path := folder / f"{option}.yaml").is_file()), None)
