"""`deeprl scaling DIR...`: laws of batch size, learning rate, data and hours against the replay ratio, from the runs of a grid."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path

from deeprl.cli.arguments import allow_package, positive
from deeprl.cli.report import page_folder
from deeprl.system.terminal import print_end, say


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "folders of runs that differ in replay.ratio, replay.batch_size, the learning rate, the seed and the --size; "
    text += "deeprl sweep makes them"
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help=text)
    parser.add_argument("--rate", metavar="KEY", default="agent.optimizer.lr", help="key of the learning rate (default: %(default)s)")
    text = "returns whose cost is asked (default: six between what all ratios reach)"
    parser.add_argument("--returns", metavar="J[,J...]", type=numbers, help=text)
    parser.add_argument("--hours", type=positive, metavar="H", help="budget of the run that is recommended (default: none)")
    text = "measure the speed of this machine for the grid's configuration, as deeprl check does (default: the speed of the runs)"
    parser.add_argument("--here", action="store_true", help=text)
    text = "key of the size of networks, if the grid has several, such as agent.torso.hidden: a page on each, and one that compares them"
    parser.add_argument("--size", metavar="KEY", help=text)
    text = "parameters of all networks, to tell operations too; with --size one for each size (default: counted)"
    parser.add_argument("--parameters", metavar="N[,N...]", type=counts, help=text)
    allow_package(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the page (default: scaling, in the current folder)")


def run(options: argparse.Namespace) -> int:
    out = page_folder("scaling", options.out)
    from deeprl.tools.scaling import build, sizes

    command = shlex.join(["deeprl", *sys.argv[1:]])
    asked = build.Asked(
        options.rate, options.returns, options.hours, options.parameters, options.here, tuple(options.allow_package), command, options.size
    )
    notes, words = (sizes if options.size else build).build(options.folders, out, asked)
    for note in notes:
        say(f"note: {note}")
    print_end(f"{out / 'index.html'}\nthe next run: {words or 'neither a law nor a cell of the grid names one'}")
    return 0


def numbers(text: str) -> list[float]:
    try:
        found = sorted({float(word) for word in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise argparse.ArgumentTypeError(f"it takes numbers with commas between them, not {text!r}")
    return found


def counts(text: str) -> list[float]:
    if (found := numbers(text))[0] <= 0:
        raise argparse.ArgumentTypeError(f"it takes numbers above 0, not {text!r}")
    return found
