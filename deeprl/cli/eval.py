"""`deeprl eval RUN`: evaluate a checkpoint on fresh environments. Never allocates the replay."""

from __future__ import annotations

import argparse
import json
import math

from deeprl.evaluation import evaluate, evaluation_seed, summarise
from deeprl.run import load
from deeprl.run_folder import find_runs


def evaluate_runs(options: argparse.Namespace) -> int:
    for path in find_runs(options.run):
        run = load(path, options.checkpoint, tuple(options.allow_package))
        seed = options.seed if options.seed is not None else evaluation_seed(run.config["seed"], run.step)
        episodes = options.episodes if options.episodes is not None else run.config["evaluation"]["final_episodes"]
        if episodes < 1:
            raise ValueError(f"--episodes must be at least 1, not {episodes}")
        num = run.config["evaluation"]["num"]
        result = evaluate(run.agent, run.make_evaluation, episodes, num, seed, run.step, run.config["device"])
        numbers = summarise(result["returns"])
        half = 1.96 * numbers["std"] / math.sqrt(max(numbers["episodes"] - 1, 1))
        interval = [numbers["mean"] - half, numbers["mean"] + half]
        if options.json:
            print(json.dumps({"run": str(path), "step": run.step, **numbers, "interval": interval, **result}))
        else:
            print(f"{path}, step {run.step:,}, seed {seed}, {episodes} episodes")
            words = [f"mean {numbers['mean']:.2f}", "95 % interval [{:.2f}, {:.2f}]".format(*interval), f"IQM {numbers['iqm']:.2f}"]
            print("  " + "   ".join([*words, f"std {numbers['std']:.2f}"]))
    return 0
