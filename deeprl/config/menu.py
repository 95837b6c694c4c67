"""The menu: groups of `configs/`, and the options of each. An option that starts with `_` is none: other files start from it."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_store import ConfigStore

from deeprl.config.rules import CONFIGS


def options(group: str) -> list[str]:
    """Options of a group: files, and nodes registered in code."""
    folder = CONFIGS / group
    found = {str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.yaml") if not _nested(p.relative_to(folder), group)}
    if group == "env":
        nodes = ConfigStore.instance().repo.get("env", {}).get("atari", {})
        found |= {f"atari/{name.removesuffix('.yaml')}" for name in nodes}
    return sorted(name for name in found if not Path(name).name.startswith("_"))


def _nested(path: Path, group: str) -> bool:
    """agent/head/scalar.yaml is an option of agent/head, not of agent; env/classic/cartpole.yaml is one of env."""
    return len(path.parts) > 1 and (group.startswith("agent") or path.parts[0] == "protocol")


def groups() -> list[str]:
    return sorted({str(p.parent.relative_to(CONFIGS)) for p in CONFIGS.rglob("*.yaml") if p.parent != CONFIGS} | {"env"})
