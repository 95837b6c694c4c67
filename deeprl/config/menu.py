"""The menu: groups of `configs/`, and the options of each. An option that starts with `_` is none: other files start from it."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_store import ConfigStore

from deeprl.config.folders import files


def options(group: str) -> list[str]:
    """Options of a group: files, and nodes registered in code."""
    found = {str(path.with_suffix("")) for path in files(group) if not _nested(path, group)}
    if group == "env":
        nodes = ConfigStore.instance().repo.get("env", {}).get("atari", {})
        found |= {f"atari/{name.removesuffix('.yaml')}" for name in nodes}
    return sorted(name for name in found if not Path(name).name.startswith("_"))


def _nested(path: Path, group: str) -> bool:
    """agent/head/scalar.yaml is an option of agent/head, not of agent; env/classic/cartpole.yaml is one of env."""
    return len(path.parts) > 1 and (group.startswith("agent") or path.parts[0] == "protocol")


def groups() -> list[str]:
    return sorted({str(path.parent) for path in files() if path.parent != Path()} | {"env"})
