"""`deeprl list agents|envs|experiments`: the menu, a line each: its name, and the first comment of its file. `deeprl list combinations`:
which backups go with which heads, and why others do not."""

from __future__ import annotations

from deeprl.config.combinations import among_parts
from deeprl.config.compose import compose, options, prepare
from deeprl.config.instantiate import instantiate
from deeprl.config.rules import CONFIGS


def show(what: str) -> int:
    prepare()
    if what == "combinations":
        print(combinations())
        return 0
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


CHANNELS = {"log": "polar", "loglinear": "polar", "loglinear_paper": "polar"}
"""Rewards for the maps of values that cannot be negative."""


def combinations() -> str:
    """Backups against heads and, for scalar heads, mappings; then what a weighting can be with, and the reasons."""

    def part(slot: str, option: str):
        return instantiate(compose(["agent=dqn", "env=toy/chain", f"agent/{slot}={option}"])[0]["agent"][slot], f"agent.{slot}")

    def backups() -> list[str]:
        return [option for option in options("agent/backup") if option != "policy"]  # policy is that of continuous agents

    rows = {("backup", option): part("backup", option) for option in backups()}
    rows |= {("weighting", option): part("weighting", option) for option in options("agent/weighting")}
    columns = {option: (part("head", option), "identity") for option in options("agent/head")}
    columns |= {
        option: (part("head", "scalar"), option) for option in options("agent/mapping") if option not in ("identity", "per_channel")
    }
    mappings = {option: part("mapping", option) for _, option in columns.values()}
    rewards = {option: part("rewards", option)() for option in ("raw", "polar")}
    reasons: dict[str, int] = {}
    width, lines = max(len(option) for _, option in rows) + 2, []
    for (slot, option), each in rows.items():
        cells = []
        for head, mapping in columns.values():
            chosen = {"backup": rows["backup", "max"], "weighting": rows["weighting", "one"], slot: each}
            found = among_parts(head, mappings[mapping], rewards[CHANNELS.get(mapping, "raw")], **chosen)
            reason = found[0].split(" needs ")[1].split(", and ")[0] if found else ""
            cells.append(f"({reasons.setdefault(reason, len(reasons) + 1)})" if found else "yes")
        lines.append(f"{option:<{width}}" + "".join(f"{cell:<{len(name) + 2}}" for name, cell in zip(columns, cells)))
    head = " " * width + "".join(f"{name}  " for name in columns)
    notes = [f"({number}) it needs {reason}" for reason, number in reasons.items()]
    rest = [
        "Heads are as their options say: with low=0 (or high=0), bounded and categorical ones have no values of either sign.",
        "Every row goes with any chain, auxiliary loss and exploration; with n_step too, but backups over sequences have none.",
    ]
    return "\n".join([head, *lines, "", *notes, *rest])
