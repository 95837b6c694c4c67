"""Rank of the features that trained agents have: of random rewards, self-prediction and DQN alone (Tang and others, 2023).

    python -m benchmarks.feature_rank FOLDER/{dqn,random_rewards,self_prediction}-* [--observations 2048] [--json FILE]
    python -m benchmarks.feature_rank --table

The table is that of the stored figures, benchmarks/results/feature_rank.json.

Features are those of the torso of the online network, which an auxiliary loss shapes. Observations are the same for all runs of a task: an
equal share of the greedy play of each, in 16 games. The effective rank is the smallest number of singular values that have 99 % of the sum
of all (Kumar and others, 2021), of the features as they are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.learning import RESULTS
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.api import load
from deeprl.running.session.run import Run
from deeprl.tools.report.rank_test import holm, p_value
from deeprl.tools.report.statistics import improvement


def effective_rank(features: torch.Tensor, missing: float = 0.01) -> int:
    """Smallest number of singular values of `features` (B, F) whose sum is at least 1 - `missing` of the sum of all; 0 for all zeros."""
    values = torch.linalg.svdvals(features.double())
    share = values.cumsum(0) / values.sum()
    return int((share < 1 - missing).sum()) + 1 if values.sum() > 0 else 0


def play(run: Run, number: int, seed: int) -> torch.Tensor:
    """(number, *obs) observations of greedy play, one after the other in 16 games."""
    envs = run.make_evaluation(seed, num=16)
    found, obs = [], torch.from_numpy(envs.reset())
    while len(found) * 16 < number:
        found.append(obs)
        obs = torch.from_numpy(envs.step(run.agent.greedy(obs).numpy()).obs)
    envs.close()
    return torch.cat(found)[:number]


def measure(path: Path, obs: torch.Tensor) -> dict:
    run = load(path)
    with torch.no_grad():
        features = run.agent.chain.online.features(run.agent.normalize(obs))[0]
        active = (features != 0).any(0)
    return {
        "run": path.name,
        "env": run.config["names"]["env"],
        "seed": run.config["seed"],
        "features": features.shape[1],
        "dead": int((~active).sum()),
        "effective_rank": effective_rank(features),
    }


def table(lines: list[dict]) -> str:
    """A row for each task and agent: the ranks of its runs, and how many of their features are 0 everywhere; then for each agent the
    probability that a run of it has a higher rank than one of DQN on the same task, and its exact p after Holm's correction for all."""
    found: dict[str, dict[str, list[dict]]] = {}
    for line in lines:
        found.setdefault(line["run"].split("-")[0], {}).setdefault(line["env"], []).append(line)
    rows = ["| task | agent | effective rank | features that are 0 everywhere |", "|---|---|---|---|"]
    for agent, tasks in found.items():
        for task, runs in tasks.items():
            cells = [", ".join(str(run[key]) for run in runs) for key in ("effective_rank", "dead")]
            rows.append(f"| {task} | {agent} | {' | '.join(cells)} |")
    ranks = {agent: [np.array([run["effective_rank"] for run in tasks[task]]) for task in sorted(tasks)] for agent, tasks in found.items()}
    plain = ranks.pop("dqn")
    rows += ["", "| agent | probability of a higher rank than DQN's | p |", "|---|---|---|"]
    for (agent, own), p in zip(ranks.items(), holm([p_value(own, plain) for own in ranks.values()])):
        above = improvement(own, plain)
        rows.append(f"| {agent} | {above.point:.2f} [{above.low:.2f}, {above.high:.2f}] | {p:.3f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--table", action="store_true", help="print the stored figures")
    parser.add_argument("--observations", type=int, default=2048)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.table:
        print(table(json.loads((RESULTS / "feature_rank.json").read_text())))
        return
    if not options.folders:
        parser.error("which run folders? or print the stored figures with --table")
    tasks: dict[str, list[Path]] = {}
    for folder in filter(Path.is_dir, options.folders):  # beside the folders lie claims of processes that trained them
        tasks.setdefault(RunFolder(folder).read_config()["names"]["env"], []).append(folder)
    lines = []
    for folders in tasks.values():
        with torch.no_grad():
            obs = torch.cat([play(load(folder), options.observations // len(folders), seed=12345) for folder in folders])
        lines += [measure(folder, obs) for folder in folders]
    for line in lines:
        print(json.dumps(line))
    if options.json:
        options.json.write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")


if __name__ == "__main__":
    main()
