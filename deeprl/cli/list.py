"""`deeprl list agents|envs|experiments`: the menu, a line each: its name, and the first comment of its file. `deeprl list combinations`:
which backups go with which heads, and why others do not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeprl.config import folders
from deeprl.config.compose import compose, prepare
from deeprl.config.menu import options

if TYPE_CHECKING:
    from deeprl.config.combinations import Refusal

GROUPS = {"agents": "agent", "envs": "env", "experiments": "experiment"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=(*GROUPS, "combinations"))
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="one more folder of configurations")


def run(asked: argparse.Namespace) -> int:
    if asked.config_dir:
        folders.add(asked.config_dir)
    prepare()
    print(combinations() if asked.what == "combinations" else menu(GROUPS[asked.what]))
    return 0


def menu(group: str) -> str:
    names = options(group)
    width = max(map(len, names))
    return "\n".join(f"{name:<{width}}  {'  '.join(entry(group, name))}" for name in names)


def entry(group: str, name: str) -> tuple[str, str]:
    """The comment that opens the file of an option, and where the file is."""
    path = folders.file(group, name)
    if path is None:
        return f"Atari game {name.rpartition('/')[2]}, from ale-py", "[configs/env/_atari.yaml]"
    words = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            words.append(line.lstrip("# "))
    return " ".join(words), f"[{folders.source(path)}]"


POLAR = ("log", "loglinear", "loglinear_paper")
"""Mappings whose values cannot be negative, and which therefore need rewards split by sign."""


def combinations() -> str:
    """Backups against heads and, for scalar heads, mappings; below them weightings; and the reasons."""
    from deeprl.config.combinations import WORDS, among_parts
    from deeprl.config.instantiate import instantiate

    def part(slot: str, option: str) -> Any:
        return instantiate(compose(["agent=dqn", "env=toy/chain", f"agent/{slot}={option}"])[0]["agent"][slot], f"agent.{slot}", None)

    backups = {option: part("backup", option) for option in options("agent/backup") if option != "policy"}  # of continuous agents
    weightings = {option: part("weighting", option) for option in options("agent/weighting")}
    rewards = {option: part("rewards", option)() for option in ("raw", "polar")}
    scalar, identity = part("head", "scalar"), part("mapping", "identity")
    columns = {option: (part("head", option), identity, rewards["raw"]) for option in options("agent/head")}
    for option in options("agent/mapping"):
        if option not in ("identity", "per_channel"):
            columns[option] = (scalar, part("mapping", option), rewards["polar" if option in POLAR else "raw"])
    rows = {option: (backup, weightings["one"]) for option, backup in backups.items()}
    rows |= {option: (backups["max"], weighting) for option, weighting in weightings.items()}
    needs: list[str] = []

    def cell(refused: list[Refusal]) -> str:
        if not refused:
            return "yes"
        if refused[0].need not in needs:
            needs.append(refused[0].need)
        return f"({needs.index(refused[0].need) + 1})"

    width = max(map(len, rows)) + 2
    lines = [" " * width + "".join(f"{name}  " for name in columns)]
    for option, row in rows.items():
        cells = {name: cell(among_parts(*column, *row)) for name, column in columns.items()}
        lines.append(f"{option:<{width}}" + "".join(f"{text:<{len(name) + 2}}" for name, text in cells.items()))
    return "\n".join(
        [
            *lines,
            "",
            *(f"({number}) it needs {WORDS[need]}" for number, need in enumerate(needs, 1)),
            "Heads are as their options say: with low=0 (or high=0), bounded and categorical ones have no values of either sign.",
            "Every row goes with any chain, auxiliary loss and exploration; with n_step too, but backups over sequences have none.",
        ]
    )
