"""Policies on whole episodes and on continuing trajectories, in small worlds whose optimum is known.

    python -m benchmarks.trajectories SET --folder FOLDER [--seeds 0]    trains what is not stored, and prints the table
    python -m benchmarks.trajectories SET --table                        prints what is stored
    SET: momentum, truncation, average

The rule, written before the runs: seeds 0 to 4, of `average` 1 to 5, none left out; settings were chosen with seed 100, of `average` with
seed 0. Arms differ in the words that are shown, and have equal steps, so equal episodes (`momentum`), or an equal budget a batch
(`truncation`). Two figures of a run of the first two sets, from its evaluations (20 episodes, without noise): "steps to 90 %", the first
one at or above 90 % of the way from the return of no action to that of the best gain for the discount, both exact (`envs/lqr.py`), where
a run that does not reach it counts as the number of its steps; and "area", the mean of all. A claim is confirmed if Welch's interval of
95 % of the difference excludes 0 on its side, and p is at most 0.05 after Holm's correction for the comparisons of its set. The claims:
N-PG-IGT, HARPG and N-HARPG each need fewer steps to 90 % than REINFORCE; planned lengths have a larger area than whole episodes, with the
same weights and with those of POIS. Of `average`: the policy of MAC earns, with each seed, within 0.01 of the best average reward, 8/13,
over 20 episodes of 1,000 steps. Results: benchmarks/results/trajectories.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import scipy

from benchmarks.curves import read
from benchmarks.learning import RESULTS, interval, keep, stored, train
from benchmarks.rank_test import holm
from deeprl.envs.lqr import gain, mean_return

FILE = RESULTS / "trajectories.json"
SEEDS = {"momentum": range(5), "truncation": range(5), "average": range(1, 6)}
COMMON = (
    "agent.torso.hidden=[] evaluation.episodes=20 evaluation.num=20 evaluation.final_episodes=20 runtime.threads=1 accelerate=fast "
    "checkpoint.every=null"
)
LINE = "env=toy/lqr1d discount=0.9 replay.horizon=50 agent.policy.log_std=-2 env.num=10 steps=30000 evaluation.every=500"
SETS = {
    "momentum": (
        LINE,
        {
            "reinforce": "agent=reinforce replay.episodes=50 agent.ascent.lr=1e-4 agent.ascent.baseline=others",
            "npg_igt": "agent=npg_igt replay.episodes=10 agent.ascent.lr=0.03 agent.ascent.baseline=others",
            "harpg": "agent=harpg replay.episodes=10 agent.ascent.lr=3e-5 agent.ascent.baseline=others",
            "n_harpg": "agent=harpg replay.episodes=10 agent.ascent.lr=0.03 agent.ascent.normalize=true agent.ascent.power=1 "
            "agent.ascent.baseline=others",
        },
        [("npg_igt", "reinforce", "to_90"), ("harpg", "reinforce", "to_90"), ("n_harpg", "reinforce", "to_90")],
    ),
    "truncation": (
        f"agent=pois {LINE}",
        {
            "whole": "replay.episodes=20",
            "whole, decision": "replay.episodes=20 agent.ascent.weights=decision",
            "planned": "replay=truncated replay.budget=1000 agent.ascent.weights=decision",
        },
        [("planned", "whole, decision", "area"), ("planned", "whole", "area")],
    ),
    "average": (
        "agent=mac env=toy/two_states steps=40000 evaluation.every=null agent.optimizer.lr=3 agent.value_optimizer.lr=1 "
        "agent.rate_optimizer.lr=0.5",
        {"mac": "replay=multilevel replay.levels=4"},
        [],
    ),
}
"""Words of all runs, those of each arm, and the comparisons: arm, arm, figure"""
ZERO, BEST = (mean_return(k, 0.1, 50) for k in (0.0, gain(0.9)))
GOAL = ZERO + 0.9 * (BEST - ZERO)


def figures(run: dict) -> dict[str, float]:
    reached = next((step for step, mean in run["curve"] if mean >= GOAL), run["steps"])
    return {"to_90": float(reached), "area": float(np.mean([mean for _, mean in run["curve"]]))}


def train_all(name: str, seeds: Iterable[int], folder: Path) -> None:
    words, arms, _ = SETS[name]
    for seed in seeds:
        for arm, own in arms.items():
            if any((line["set"], line["arm"], line["seed"]) == (name, arm, seed) for line in stored(FILE)):
                continue
            given, place = f"{own} {words} {COMMON} seed={seed}", folder / f"{name}-{arm.replace(', ', '_').replace(' ', '_')}-{seed}"
            if train(place, given.split()):
                keep({"set": name, "arm": arm, **read(place), "overrides": given}, FILE)


def runs_of(name: str, arm: str) -> list[dict]:
    return sorted((line for line in stored(FILE) if (line["set"], line["arm"]) == (name, arm)), key=lambda line: line["seed"])


def table(name: str) -> str:
    rows = [
        f"90 %: {GOAL:.2f}, best {BEST:.2f}" if name != "average" else "best 615.38",
        "",
        "| arm | seeds | steps to 90 % | area | finals |",
        "|---|---|---|---|---|",
    ]
    found = {arm: [figures(run) for run in runs_of(name, arm)] for arm in SETS[name][1]}
    for arm, each in found.items():
        if each:
            reached, area = ([one[key] for one in each] for key in ("to_90", "area"))
            finals = ", ".join(f"{run['final']['mean']:.2f}" for run in runs_of(name, arm))
            cells = [f"{np.mean(values):,.{digits}f} ± {interval(values):,.{digits}f}" for values, digits in ((reached, 0), (area, 2))]
            rows.append(f"| {arm} | {len(each)} | {cells[0]} | {cells[1]} | {finals} |")
    tests = {}
    for one, other, key in SETS[name][2]:
        if len(found[one]) > 1 and len(found[other]) > 1:
            tests[one, other, key] = scipy.stats.ttest_ind(*([run[key] for run in found[arm]] for arm in (one, other)), equal_var=False)
    for (one, other, key), p in zip(tests, holm([test.pvalue for test in tests.values()]), strict=True):
        low, high = tests[one, other, key].confidence_interval(0.95)
        rows.append(f"\n{one} less {other}, {key}: [{low:,.2f}, {high:,.2f}], p {p:.3f}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETS, metavar="SET")
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    if options.folder is None and not options.table:
        parser.error("--folder says where the run folders go; or print what there is with --table")
    if not options.table:
        train_all(options.name, options.seeds or SEEDS[options.name], options.folder.resolve())
    print(table(options.name))


if __name__ == "__main__":
    main()
