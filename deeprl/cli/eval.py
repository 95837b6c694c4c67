"""`deeprl eval RUN`: evaluate a checkpoint on fresh environments."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from deeprl.cli.arguments import at_least_one, checkpoints
from deeprl.cli.each import each_policy
from deeprl.system.terminal import print_result


def arguments(parser: argparse.ArgumentParser) -> None:
    checkpoints(parser, episodes=None, seed="seed of the evaluation; a seed from evaluations.jsonl repeats that evaluation")
    parser.add_argument("--json", action="store_true", help="print one JSON object a run, for programs")


def run(options: argparse.Namespace) -> int:
    if options.episodes is not None:
        at_least_one(options.episodes)

    def one(path: Path) -> None:
        from deeprl.running.session.api import load
        from deeprl.running.training.evaluation import task_means
        from deeprl.system.progress import Progress

        run = load(path, options.checkpoint, tuple(options.allow_package))
        progress = Progress(1, live=False)
        told = run.evaluate(options.episodes, options.seed, partial(progress.evaluating, run.step))
        name = options.run if options.run.is_file() else path  # of an archive, which is unpacked for this process alone
        if options.json:
            print_result(json.dumps({"run": str(name), **told}))
            return
        print_result(f"{name}, step {run.step:,}, seed {told['seed']}, {told['episodes']} episodes")
        around = told["interval"]
        spread = "no interval of one episode" if around is None else "95 % interval [{:.2f}, {:.2f}]".format(*around)
        print_result("  " + "   ".join([f"mean {told['mean']:.2f}", spread, f"IQM {told['iqm']:.2f}", f"std {told['std']:.2f}"]))
        for name, value in task_means(told).items():
            print_result(f"  {name} {value:.4g}")
        diagnostics = told["diagnostics"]
        if "value" in diagnostics:
            value, returned, over = (diagnostics[name] for name in ("value", "discounted_return", "overestimation"))
            print_result(
                f"  discounted return, in learned rewards: the agent predicted {value:.2f}, {returned:.2f} came: overestimation {over:+.2f}"
            )

    return each_policy(options.run, one)
