"""`deeprl pack RUN`: the policy of a run in one file, to hand on."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from deeprl.cli.arguments import allow_package
from deeprl.errors import FINISHED
from deeprl.running.config.trust import argument_of_trust, words_of_trust
from deeprl.running.runs.folder import RunFolder
from deeprl.system.terminal import print_end


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--checkpoint", default="last", help="best, last or a step")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write (default: AGENT_ENV_seedSEED.zip, here)")
    allow_package(parser)


def run(options: argparse.Namespace) -> int:
    folder = RunFolder(options.run)
    folder.read_config()  # tells of a wrong folder before torch is loaded, which takes seconds
    from deeprl.running.runs.archive import pack
    from deeprl.running.session.api import load
    from deeprl.tools.export.card import card

    found = load(options.run, options.checkpoint, tuple(options.allow_package))
    names, seed = found.config["names"], found.config["seed"]
    out = options.out or Path(f"{names['agent']}_{names['env']}_seed{seed}.zip".replace("/", "_"))
    text = card(found, folder.read_system(), out.name)
    pack(options.run, found.step, found.agent.state(), text, out, best=options.checkpoint == "best")
    words, argument = words_of_trust(found.config), argument_of_trust(found.config)
    use = f"deeprl eval {shlex.quote(str(out))}{words}, or deeprl.load({str(out)!r}{argument})"
    print_end(f"{out}: step {found.step:,}, {out.stat().st_size:,} bytes. To use it: {use}")
    return FINISHED
