"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from deeprl.errors import ConfigError

RUN = "a run folder, a folder above several, or an archive of `deeprl pack`"


def allow_package(parser: argparse.ArgumentParser) -> None:
    text = "a package that the run's configuration may name"
    parser.add_argument("--allow-package", action="append", default=[], metavar="NAME", help=text)
    text = "a file that the run's configuration may hand to its environment"
    parser.add_argument("--allow-file", action="append", dest="allow_package", metavar="FILE", help=text)


def allow_connection(parser: argparse.ArgumentParser) -> None:
    text = "a setting by which jobs of a stored sweep connect to something, such as logger.wandb=true"
    parser.add_argument("--allow-connection", action="append", dest="allow_package", metavar="KEY=VALUE", help=text)


def checkpoints(parser: argparse.ArgumentParser, episodes: int | None, seed: str) -> None:
    """Arguments of the commands that play episodes with the agent of a checkpoint.

    Args:
        episodes: default of --episodes.
        seed: help text of --seed.
    """
    parser.add_argument("run", type=Path, help=RUN)
    parser.add_argument("--checkpoint", default="last", help="best, last or a step")
    parser.add_argument("--episodes", type=int, default=episodes)
    parser.add_argument("--seed", type=natural, default=None, help=seed)
    allow_package(parser)


def written_to(parser: argparse.ArgumentParser, name: str) -> None:
    """`--out`, of a command that writes to the folder `name` of a run."""
    where = f"where to write (default: {name}, in the run folder; {name}/ARCHIVE, in the current folder, for that of an archive)"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=where)


def out_of(options: argparse.Namespace, name: str) -> Path | None:
    """The folder that is written to; None: `name`, in the run folder."""
    return options.out or (Path(name, options.run.stem) if options.run.is_file() else None)


def natural(text: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"it takes a whole number of at least {least}, not {text}")
    return int(text)


def counting(text: str) -> int:
    return natural(text, least=1)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"it takes a number above 0, not {text!r}")
    return value


FOREIGN = {
    "--help": "it takes no value: `deeprl list agent` shows the options of a slot",
    "--dry-run": "`deeprl check` measures what a run would be and cost, and budget=tiny trains a few hundred steps",
    "--render": "`deeprl record RUN` films the policy",
    "--verbose": "a run prints its progress; log.every sets the period of its metrics, and DEEPRL_DEBUG=1 in front prints tracebacks",
    **dict.fromkeys(
        ("--allow-package", "--allow-file"),
        "leave it out: this command asks for no such permission, because what it names itself is allowed",
    ),
    "--allow-connection": "it is of `deeprl sweep resume` and `deeprl tune resume`; `deeprl resume` takes the setting itself again, such "
    "as logger.wandb=true, and other commands ask for no such permission",
}
"""Flags of other programs, and of other commands, with what does the same here"""


def foreign(words: list[str]) -> str:
    """What deeprl has in place of the first flag in `words` that belongs to other programs or commands; empty if there is none."""
    found = next((FOREIGN[name] for word in words if (name := word.partition("=")[0]) in FOREIGN), "")
    return f"; {found}" if found else ""


def at_least_one(episodes: int) -> int:
    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, not {episodes}")
    return episodes
