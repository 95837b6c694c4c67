"""`deeprl check [overrides]`: what a run would be and cost, and what looks wrong with it, before it is started."""

from __future__ import annotations

import argparse
from pathlib import Path

from deeprl.cli.arguments import positive
from deeprl.cli.exits import FAILED, FINISHED
from deeprl.running.config import folders
from deeprl.system.terminal import print_result


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for deeprl train")
    text = "duration of the measured training, and at most that of the measured evaluation (default: 3)"
    parser.add_argument("--seconds", type=positive, default=3.0, help=text)
    parser.add_argument("--strict", action="store_true", help="leave with 1 if anything is suspicious")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="an additional folder of configurations")


def run(options: argparse.Namespace) -> int:
    from deeprl.tools.check.build import build
    from deeprl.tools.check.page import as_json, page
    from deeprl.tools.check.suspicions import suspicions

    if options.config_dir:
        folders.add(options.config_dir)
    record = build(options.overrides, options.seconds)
    found = suspicions(record)
    print_result(as_json(record, found) if options.json else page(record, found))
    return FAILED if options.strict and found else FINISHED
