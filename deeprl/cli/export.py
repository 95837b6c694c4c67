"""`deeprl export RUN`: the greedy policy as a torch.export program and as an ONNX model, checked against the agent."""

from __future__ import annotations

import argparse
from pathlib import Path

from deeprl.cli.arguments import RUN, allow_package, out_of, written_to
from deeprl.cli.each import each_policy
from deeprl.errors import ConfigError
from deeprl.system.machine import extra, lacking
from deeprl.system.terminal import print_end, say

NEEDS = ("onnx", "onnxscript")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help=RUN)
    parser.add_argument("--checkpoint", default="last", help="best, last or a step")
    parser.add_argument("--format", choices=("onnx", "torch", "both"), default="both", help="policy.onnx, policy.pt2 or both (the default)")
    written_to(parser, "exports")
    allow_package(parser)


def run(options: argparse.Namespace) -> int:
    formats = ("onnx", "torch") if options.format == "both" else (options.format,)
    if "onnx" in formats and (missing := lacking(NEEDS)):
        raise ConfigError(f"--format {options.format} needs {', '.join(missing)}: {extra('export')}; or take --format torch")
    out = out_of(options, "exports")

    def one(path: Path) -> None:
        from deeprl.running.session.api import load
        from deeprl.tools.export.build import export

        loaded = load(path, options.checkpoint, tuple(options.allow_package))
        for sentence in loaded.agent.simplified():
            say(f"note: {sentence}")
        for file, result in export(loaded, formats, out).items():
            words = "not checked"
            if result is not None:
                words = f"agrees with the agent on {result.observations:,} observations: largest difference {result.largest:.2g}"
                words += f", where rounding explains {result.allowed:.2g}"
            print_end(f"{file}: step {loaded.step:,}, {file.stat().st_size:,} bytes; {words}")

    return each_policy(options.run, one, options.out)
