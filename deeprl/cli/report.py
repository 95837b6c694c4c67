"""`deeprl report PATH...`: learning curves and final scores of any runs as a page, figures and tables."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from deeprl.errors import ConfigError
from deeprl.system.machine import extra, lacking
from deeprl.system.terminal import print_end, say

NEEDS = ("matplotlib", "scipy", "jinja2")


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "run folders, folders above several, and files of stored runs such as benchmarks/results/hopper.json"
    parser.add_argument("folders", nargs="+", type=Path, metavar="PATH", help=text)
    text = "the folder of the report; its earlier files are replaced (default: report, in the current folder)"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=text)
    text = (
        "runs with equal values of these keys are a group, such as agent or agent.optimizer.lr (default: runs that differ in the seed only)"
    )
    parser.add_argument("--group", metavar="KEY[,KEY...]", type=words, help=text)
    parser.add_argument(
        "--names", metavar="NAME[,NAME...]", type=words, help="names of the groups, in the order in which the report has them"
    )


def run(options: argparse.Namespace) -> int:
    out = page_folder("report", options.out)
    from deeprl.tools.report.build import build

    notes = build(options.folders, out, options.group, options.names, shlex.join(["deeprl", *sys.argv[1:]]))
    for note in notes:
        say(f"note: {note}")
    print_end(f"{out / 'index.html'}")
    return 0


def page_folder(command: str, out: Path | None) -> Path:
    """The folder of the page that `deeprl COMMAND` writes: --out, or one of the command's name.

    Raises:
        ConfigError: a package is not installed, or the folder is a link that the command line does not name.
    """
    if missing := lacking(NEEDS):
        raise ConfigError(f"deeprl {command} needs {', '.join(missing)}: {extra('report')}")
    if out is None and Path(command).is_symlink():  # the current folder may be a stranger's
        raise ConfigError(f"{command} is a link, which is followed only if it is named: --out {command}")
    return out or Path(command)


def words(text: str) -> list[str]:
    if found := [word.strip() for word in text.split(",") if word.strip()]:
        return found
    raise argparse.ArgumentTypeError(f"it takes at least one word, not {text!r}; leave it out for the default")
