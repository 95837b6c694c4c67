"""The console script `deeprl`. Nothing of ours is imported at the top, because worker processes import the main script once more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module

COMMANDS = {
    "train": "train an agent, as `python train.py` does: deeprl train agent=... env=... key=value ...",
    "resume": "go on where the last checkpoint of a run stands",
    "eval": "evaluate a checkpoint on fresh environments",
    "record": "film episodes of the greedy policy: MP4 files under videos/",
    "replay-crash": "repeat the update that produced NaN or Inf",
    "list": "print what there is to choose from",
}
"""Each is a file of this folder with `arguments(parser)` and `run(options)`; `train` leaves its command line to Hydra."""


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["train"]:
        from deeprl.cli.train import main as train

        sys.argv = [sys.argv[0], *words]
        return train()
    run, options = parsed(words)
    from deeprl.cli.exits import guarded

    sys.exit(guarded(lambda: run(options)))


def parsed(words: list[str]) -> tuple[Callable[[argparse.Namespace], int], argparse.Namespace]:
    """A command and its options. Only the file of that command is imported."""
    parser = argparse.ArgumentParser(prog="deeprl", description="Train agents, continue and evaluate their runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name in words[:1]:
            module = import_module(f"deeprl.cli.{name.replace('-', '_')}")
            module.arguments(command)
    options, rest = parser.parse_known_args(words)
    if "overrides" in options:  # argparse takes no key=value after an option that stands between them
        options.overrides += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return module.run, options


if __name__ == "__main__":
    main()
