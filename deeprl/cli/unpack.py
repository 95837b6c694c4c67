"""`deeprl unpack FILE FOLDER`: a run folder of a packed policy."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from deeprl.errors import FINISHED
from deeprl.system.terminal import print_end


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="of deeprl pack")
    parser.add_argument("folder", type=Path, help="a new one")


def run(options: argparse.Namespace) -> int:
    from deeprl.running.runs.archive import unpack

    unpack(options.file, options.folder)
    start = f"init_from={shlex.quote(str(options.folder))}"
    print_end(f"{options.folder}: {start} starts a run of the same agent and environment with its weights")
    return FINISHED
