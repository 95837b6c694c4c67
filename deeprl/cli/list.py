"""`deeprl list agents|envs|experiments`: the menu, a line each: its name, and the first comment of its file."""

from __future__ import annotations

from deeprl.compose import options, prepare
from deeprl.config import CONFIGS


def show(what: str) -> int:
    prepare()
    group = {"agents": "agent", "envs": "env", "experiments": "experiment"}[what]
    names = options(group)
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {says(group, name)}  [{source(group, name)}]")
    return 0


def source(group: str, name: str) -> str:
    path = CONFIGS / group / f"{name}.yaml"
    return f"configs/{group}/{name}.yaml" if path.is_file() else "configs/env/_atari.yaml"


def says(group: str, name: str) -> str:
    """The comment that opens the file."""
    path = CONFIGS / group / f"{name}.yaml"
    if not path.is_file():
        return f"Atari game {name.rpartition('/')[2]}, from ale-py"
    words = []
    for line in path.read_text().splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# "))
    return " ".join(words)
