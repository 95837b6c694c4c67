"""`deeprl eval RUN`: evaluate a checkpoint on fresh environments. The replay is never allocated."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from deeprl.cli.arguments import at_least_one, checkpoints
from deeprl.cli.each import each_policy
from deeprl.running.runs.folder import read_lines
from deeprl.system.terminal import print_result


def arguments(parser: argparse.ArgumentParser) -> None:
    checkpoints(parser, episodes=None, seed="seed of the evaluation; a seed from evaluations.jsonl repeats that evaluation")
    parser.add_argument("--json", action="store_true", help="print one JSON object a run, for programs")


def run(options: argparse.Namespace) -> int:
    if options.episodes is not None:
        at_least_one(options.episodes)

    def one(path: Path) -> None:
        from deeprl.running.session.api import load
        from deeprl.running.training.evaluation import evaluate, interval, recorded_cut_off, repeated_seed, summarise, task_means
        from deeprl.running.training.overestimation import Overestimation
        from deeprl.system.progress import Progress

        run = load(path, options.checkpoint, tuple(options.allow_package))
        seed = options.seed if options.seed is not None else repeated_seed(path, run.config["seed"], run.step, options.checkpoint)
        default = recorded(path, run.step, seed, run.config["evaluation"]["final_episodes"])
        episodes = options.episodes if options.episodes is not None else default
        num = run.config["evaluation"]["num"]
        values = Overestimation.of_run(run.agent.rewards, run.config)
        tick = partial(Progress(episodes, live=False).evaluating, run.step, episodes)
        device, longest = run.config["device"], recorded_cut_off(path, run.step)
        result = evaluate(run.agent, run.env.make_evaluation, episodes, num, seed, run.step, device, tick, (values,), longest)
        name = options.run if options.run.is_file() else path  # of an archive, which is unpacked for this process alone
        diagnostics, numbers, around = values.metrics(), summarise(result["returns"]), interval(result["returns"])
        if options.json:
            print_result(
                json.dumps({"run": str(name), "step": run.step, **numbers, "interval": around, **result, "diagnostics": diagnostics})
            )
            return
        print_result(f"{name}, step {run.step:,}, seed {seed}, {episodes} episodes")
        spread = "no interval of one episode" if around is None else "95 % interval [{:.2f}, {:.2f}]".format(*around)
        print_result("  " + "   ".join([f"mean {numbers['mean']:.2f}", spread, f"IQM {numbers['iqm']:.2f}", f"std {numbers['std']:.2f}"]))
        for name, value in task_means(result).items():
            print_result(f"  {name} {value:.4g}")
        if "value" in diagnostics:
            value, returned, over = (diagnostics[name] for name in ("value", "discounted_return", "overestimation"))
            print_result(f"  discounted, in learned rewards: predicted {value:.2f}, return {returned:.2f}, overestimation {over:+.2f}")

    return each_policy(options.run, one)


def recorded(path: Path, step: int, seed: int, default: int) -> int:
    """Number of episodes that the run itself played with this seed at this step, so that the command repeats them; else `default`."""
    lines = read_lines(path / "evaluations.jsonl")
    found = (line.get("returns") for _, line in lines if line.get("seed") == seed and line["step"] == step)
    return next((len(returns) for returns in found if isinstance(returns, list) and returns), default)
