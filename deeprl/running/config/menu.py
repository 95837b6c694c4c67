"""The menu: groups of `configs/` and their options. A file whose name starts with `_` is not an option, but a base of other files."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_store import ConfigStore

from deeprl.running.config.folders import files

FAMILIES = ("lab",)
"""Folders of `agent` that hold recipes, not options of a slot"""


def options(group: str) -> list[str]:
    """Options of a group: files, and nodes registered in code."""
    found = option_files(group)
    if group == "env":
        nodes = ConfigStore.instance().repo.get("env", {}).get("atari", {})
        found |= {f"atari/{name.removesuffix('.yaml')}" for name in nodes}
    return sorted(name for name in found if not Path(name).name.startswith("_"))


def option_files(group: str) -> set[str]:
    """The files of a group, bases of other files included."""
    return {str(path.with_suffix("")) for path in files(group) if not _nested(path, group)}


def _nested(path: Path, group: str) -> bool:
    """Whether a file belongs to a subgroup: agent/head/scalar.yaml is no option of agent, but agent/lab/dtr.yaml is one, and
    env/classic/cartpole.yaml is one of env."""
    if group == "agent" and path.parts[0] in FAMILIES:
        return False
    return len(path.parts) > 1 and (group.startswith("agent") or path.parts[0] == "protocol")


def groups() -> list[str]:
    families = {f"agent/{family}" for family in FAMILIES}
    return sorted({str(path.parent) for path in files() if path.parent != Path()} - families | {"env"})
