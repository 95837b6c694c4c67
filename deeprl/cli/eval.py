"""`deeprl eval RUN`: evaluate a checkpoint on fresh environments. Never allocates the replay."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from deeprl.runs.folder import RunFolder, find_runs
from deeprl.session.api import load
from deeprl.training.evaluation import evaluate, evaluation_seed, summarise
from deeprl.training.overestimation import Overestimation


def recorded(path: Path, step: int, seed: int, default: int) -> int:
    """How many episodes the run itself played with this seed at this step: the same command repeats them."""
    lines = (line for line in RunFolder(path).read_evaluations() if line["seed"] == seed and line["step"] == step)
    return next((len(line["returns"]) for line in lines), default)


def evaluate_runs(options: argparse.Namespace) -> int:
    for path in find_runs(options.run):
        run = load(path, options.checkpoint, tuple(options.allow_package))
        seed = options.seed if options.seed is not None else evaluation_seed(run.config["seed"], run.step)
        default = recorded(path, run.step, seed, run.config["evaluation"]["final_episodes"])
        episodes = options.episodes if options.episodes is not None else default
        if episodes < 1:
            raise ValueError(f"--episodes must be at least 1, not {episodes}")
        num = run.config["evaluation"]["num"]
        honesty = Overestimation.of_run(run.agent.rewards, run.config)
        result = evaluate(run.agent, run.make_evaluation, episodes, num, seed, run.step, run.config["device"], listeners=(honesty,))
        diagnostics = honesty.metrics()
        numbers = summarise(result["returns"])
        half = 1.96 * numbers["std"] / math.sqrt(max(numbers["episodes"] - 1, 1))
        interval = [numbers["mean"] - half, numbers["mean"] + half]
        if options.json:
            print(json.dumps({"run": str(path), "step": run.step, **numbers, "interval": interval, **result, "diagnostics": diagnostics}))
        else:
            print(f"{path}, step {run.step:,}, seed {seed}, {episodes} episodes")
            words = [f"mean {numbers['mean']:.2f}", "95 % interval [{:.2f}, {:.2f}]".format(*interval), f"IQM {numbers['iqm']:.2f}"]
            print("  " + "   ".join([*words, f"std {numbers['std']:.2f}"]))
            if "value" in diagnostics:
                value, returned, over = (diagnostics[name] for name in ("value", "discounted_return", "overestimation"))
                print(f"  its values, discounted and as it learns them: {value:.2f}, what came: {returned:.2f}, overestimation {over:+.2f}")
    return 0
