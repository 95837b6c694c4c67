"""The console script `deeprl`. No module of deeprl is imported at the top, because worker processes import the main script again."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

COMMANDS = {
    "train": "train an agent, as `python train.py` does: deeprl train agent=... env=... key=value ...",
    "sweep": "run a grid, jobs side by side: deeprl sweep agent=dqn,idqn seed=0,1; deeprl sweep resume DIR continues it",
    "tune": "search for good settings: deeprl tune agent=dqn KEY=a,b KEY=interval(0,1); deeprl tune resume DIR continues it",
    "check": "what a run would cost, measured over a few seconds, and what looks wrong with it",
    "resume": "continue a run from its last checkpoint",
    "status": "a line for each run in and below folders: state, step, return, last checkpoint",
    "clean": "remove runs that failed before their first checkpoint, and very short ones; asks first",
    "eval": "evaluate a checkpoint on fresh environments",
    "report": "learning curves and final scores of runs as a page, figures and tables",
    "scaling": "laws of batch size, rate, data and hours against the replay ratio, from the runs of a grid, and the next run",
    "record": "film episodes of the greedy policy: MP4 files under videos/",
    "export": "write the greedy policy as a torch.export program and as ONNX, checked against the agent",
    "pack": "the policy of a run in one file, to hand on: configuration, scores and weights, without code",
    "unpack": "a run folder of a packed policy",
    "hub": "packed policies on the Hugging Face Hub: push RUN USER/NAME | pull USER/NAME",
    "replay-crash": "repeat the update that produced NaN or Inf",
    "data": "stored data to learn from: list | show DATA | convert RUN NAME | DATASET FOLDER, to a data set of Minari and back",
    "list": "print the slots, or the options of one: deeprl list agent/backup",
}
"""Each command is a file of this folder with `arguments(parser)` and `run(options)`; only `train` leaves its command line to Hydra."""

EPILOG = "deeprl COMMAND --help explains a command; deeprl train --help is the page to begin with."


def main(words: list[str] | None = None) -> None:
    if words is None and sys.argv[1:2] in (["train"], ["resume"]):
        from deeprl.system.signals import leave_at_signals

        leave_at_signals()
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if words[:1] == ["train"]:
        from deeprl.cli.train import main as train

        sys.argv = [sys.argv[0], *words]
        return train()
    from deeprl.cli.exits import guarded

    def command() -> int:
        run, options = parsed(words)
        return run(options)

    sys.exit(guarded(command))


class Parser(argparse.ArgumentParser):
    """Parser whose errors are a `ConfigError`, which is printed as one sentence. Options are not abbreviated, because one command's --seed
    would be another's --seeds."""

    def __init__(self, **options):
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        from deeprl.errors import ConfigError

        raise ConfigError(f"{message} (see {self.prog} --help)")


class Version(argparse.Action):
    """Action of --version. It imports the page only when it is needed."""

    def __call__(self, parser, *ignored) -> NoReturn:
        from deeprl.cli.page import version_page
        from deeprl.system.terminal import print_result

        print_result(version_page())
        sys.exit()


def refuse_unknown(words: list[str]) -> None:
    """
    Raises:
        ConfigError: the first word looks like a command, and is none. argparse would list them all.
    """
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        from deeprl.errors import ConfigError
        from deeprl.running.config.rules import nearest

        near = nearest(words[0], COMMANDS) or f" They are {', '.join(COMMANDS)}."
        raise ConfigError(f"there is no command {words[0]!r:.100}.{near} (see deeprl --help)")


def parsed(words: list[str]) -> tuple[Callable[[argparse.Namespace], int], argparse.Namespace]:
    """A command and its options. Only the file of that command is imported."""
    parser = Parser(prog="deeprl", description="Train agents, continue and evaluate their runs.", epilog=EPILOG)
    refuse_unknown(words)
    parser.add_argument("--version", action=Version, nargs=0, help="print the versions of deeprl, torch and Python")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name in words[:1]:
            module = import_module(f"deeprl.cli.{name.replace('-', '_')}")
            module.arguments(command)
    options, rest = parser.parse_known_args(words)
    if "overrides" in options:  # argparse does not add key=value words that follow an option
        options.overrides += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        from deeprl.cli.arguments import foreign
        from deeprl.running.config.rules import nearest

        command = commands.choices[options.command]
        flags = [flag[2:] for flag in re.findall(r"--[\w-]+", command.format_usage())]
        near = nearest(rest[0].partition("=")[0].lstrip("-"), flags).replace("mean ", "mean --")  # the dashes of all are alike
        hint = foreign(rest) or (near and f".{near}")
        command.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    return module.run, options


if __name__ == "__main__":
    main()
