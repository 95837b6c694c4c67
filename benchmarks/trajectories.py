"""Policies on whole episodes and on continuing trajectories, in small worlds, of most of which the optimum is known.

    python -m benchmarks.trajectories SET --folder FOLDER [--seeds 0]    trains what is not stored, and prints the table
    python -m benchmarks.trajectories SET --table                        prints what is stored
    SET: momentum, cartpole, truncation, pendulum, average, mixing

The rule, written before the runs. Seeds 0 to 4, of `average` 1 to 5, none left out. Arms differ in the words that are shown, and have equal
steps, so equal episodes (`momentum`), or an equal budget a batch (`truncation`, `pendulum`).

Settings were chosen with other seeds: 100; of `average` 0.

- `cartpole`: six step sizes an arm with seeds 100 and 101, eight of REINFORCE, because the best of six was at their edge. The fewest steps
  to 450 decided, then the area.
- `pendulum`: with δ of 0.4, 0.8, 0.99 and a network of 16 units, and with δ of 0.4 and 0.1, log σ of −1 and 0 and a linear policy, nothing
  was learned in 200,000 or 400,000 steps. The largest sum of the areas of the three arms, of the linear four, decided; all arms have it.
- `mixing`: step sizes of the policy of 0.3, 1 and 3 with seeds 100 and 101, and of 10, which learns nothing, with 100; `env.stay=0.5`. The
  largest return in training decided.

Figures of a run, whose evaluations have 20 episodes without noise. "Steps to 90 %": of the first evaluation at or above 90 % of the way
from the return of no action to that of the best gain for the discount, both exact (`envs/lqr.py`); in `cartpole` at or above 450 of 500. A
run that does not reach it counts as the number of its steps. "Area": the mean of all evaluations. "Training", in `mixing`: the mean return
of all 100 training episodes of 1,000 steps, because a greedy policy there earns all or nothing.

A claim is confirmed if Welch's interval of 95 % of the difference excludes 0 on its side, and p is at most 0.05 after Holm's correction for
the comparisons of its set. The claims:

- `momentum`, `cartpole`: N-PG-IGT, HARPG and N-HARPG each need fewer steps to 90 % than REINFORCE.
- `truncation`, `pendulum`: planned lengths have a larger area than whole episodes, with the same weights and with those of POIS.
- `average`: the policy of MAC earns, with each seed, within 0.01 of the best average reward, 8/13, over 20 episodes of 1,000 steps.
- `mixing`: MAC earns more in training than plain means of 16 steps, whose expectation its own have, and than plain means of 4, which take
  as many steps; on a grid, and on one that mixes five times as slowly. The plain means of the authors' code step by SGD, ours by AdaGrad as
  MAC does, so that the means alone differ.

Results: benchmarks/results/trajectories.json.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy

from benchmarks.curves import read
from benchmarks.learning import RESULTS, interval, keep, stored, train
from deeprl.envs.lqr import gain, mean_return
from deeprl.tools.report.rank_test import holm

FILE = RESULTS / "trajectories.json"
COMMON = "evaluation.episodes=20 evaluation.num=20 evaluation.final_episodes=20 runtime.threads=1 accelerate=fast checkpoint.every=null"
LINE = (
    "env=toy/lqr1d discount=0.9 replay.horizon=50 agent.policy.log_std=-2 env.num=10 steps=30000 evaluation.every=500 agent.torso.hidden=[]"
)
ZERO, BEST = (mean_return(k, 0.1, 50) for k in (0.0, gain(0.9)))


@dataclass(frozen=True)
class Experiment:
    """Args:
    words: of all runs.
    arms: words of each.
    pairs: comparisons: arm, arm, figure.
    best: return of the best policy, None where it is not known.
    goal: return at which "steps to 90 %" ends, None where they are not counted.
    """

    words: str
    arms: dict[str, str]
    pairs: tuple[tuple[str, str, str], ...] = ()
    best: float | None = None
    goal: float | None = None
    seeds: range = range(5)


TO_90 = tuple((arm, "reinforce", "to_90") for arm in ("npg_igt", "harpg", "n_harpg"))
AREA = ("planned", "whole, decision", "area"), ("planned", "whole", "area")
LAWS = {"fast": "env.stay=0.5", "slow": "env.stay=0.9"}
MEANS = {
    "mac": "replay=multilevel replay.levels=4 agent.optimizer.lr=1",
    "mean of 16": "replay=ticks replay.levels=4 agent.optimizer.lr=0.3",
    "mean of 4": "replay=ticks replay.levels=2 agent.optimizer.lr=3",
}
SETS = {
    "momentum": Experiment(
        LINE,
        {
            "reinforce": "agent=reinforce replay.episodes=50 agent.ascent.lr=1e-4 agent.ascent.baseline=others",
            "npg_igt": "agent=npg_igt replay.episodes=10 agent.ascent.lr=0.03 agent.ascent.baseline=others",
            "harpg": "agent=harpg replay.episodes=10 agent.ascent.lr=3e-5 agent.ascent.baseline=others",
            "n_harpg": "agent=harpg replay.episodes=10 agent.ascent.lr=0.03 agent.ascent.normalize=true agent.ascent.power=1 "
            "agent.ascent.baseline=others",
        },
        TO_90,
        best=BEST,
        goal=ZERO + 0.9 * (BEST - ZERO),
    ),
    "cartpole": Experiment(
        "env=classic/cartpole env.num=10 steps=300000 evaluation.every=5000 agent.torso.hidden=[] agent.ascent.baseline=others",
        {
            "reinforce": "agent=reinforce replay.episodes=50 agent.ascent.lr=0.05",
            "npg_igt": "agent=npg_igt replay.episodes=10 agent.ascent.lr=0.7",
            "harpg": "agent=harpg replay.episodes=10 agent.ascent.lr=0.01",
            "n_harpg": "agent=harpg replay.episodes=10 agent.ascent.lr=0.7 agent.ascent.normalize=true agent.ascent.power=1",
        },
        TO_90,
        best=500.0,
        goal=450.0,
    ),
    "truncation": Experiment(
        f"agent=pois {LINE}",
        {
            "whole": "replay.episodes=20",
            "whole, decision": "replay.episodes=20 agent.ascent.weights=decision",
            "planned": "replay=truncated replay.budget=1000 agent.ascent.weights=decision",
        },
        AREA,
        best=BEST,
        goal=ZERO + 0.9 * (BEST - ZERO),
    ),
    "pendulum": Experiment(
        "agent=pois env=function env.function=benchmarks.products:make discount=0.95 replay.horizon=200 env.num=10 steps=400000 "
        "evaluation.every=20000 agent.policy.log_std=0 agent.ascent.delta=0.1 agent.torso.hidden=[]",
        {
            "whole": "replay.episodes=20",
            "whole, decision": "replay.episodes=20 agent.ascent.weights=decision",
            "planned": "replay=truncated replay.budget=4000 agent.ascent.weights=decision",
        },
        AREA,
    ),
    "average": Experiment(
        "agent=mac env=toy/two_states steps=40000 evaluation.every=null agent.optimizer.lr=3 agent.value_optimizer.lr=1 "
        "agent.rate_optimizer.lr=0.5 agent.torso.hidden=[]",
        {"mac": "replay=multilevel replay.levels=4"},
        best=8000 / 13,
        seeds=range(1, 6),
    ),
    "mixing": Experiment(
        "agent=mac env=toy/slow_grid steps=100000 evaluation.every=null agent.value_optimizer.lr=1 agent.rate_optimizer.lr=0.5 "
        "agent.torso.hidden=[]",
        {f"{arm}, {law}": f"{words} {stay}" for law, stay in LAWS.items() for arm, words in MEANS.items()},
        tuple((f"mac, {law}", f"{arm}, {law}", "training") for law in LAWS for arm in ("mean of 16", "mean of 4")),
        best=1000 / 9,
    ),
}


def figures(run: dict, goal: float | None) -> dict[str, float]:
    """Numbers of a run; "to_90" has a meaning where the set has a goal."""
    reached = next((step for step, mean in run["curve"] if goal is not None and mean >= goal), run["steps"])
    area, training = np.mean([mean for _, mean in run["curve"]]), run.get("training")  # runs before 30 November have no training
    return {"to_90": float(reached), "area": float(area), "training": math.nan if training is None else float(training)}


def train_all(name: str, seeds: Iterable[int], folder: Path) -> None:
    words, arms = SETS[name].words, SETS[name].arms
    for seed in seeds:
        for arm, own in arms.items():
            if any((line["set"], line["arm"], line["seed"]) == (name, arm, seed) for line in stored(FILE)):
                continue
            given, place = f"{own} {words} {COMMON} seed={seed}", folder / f"{name}-{arm.replace(', ', '_').replace(' ', '_')}-{seed}"
            if train(place, given.split()):
                keep({"set": name, "arm": arm, **read(place), "overrides": given}, FILE)


def runs_of(name: str, arm: str) -> list[dict]:
    return sorted((line for line in stored(FILE) if (line["set"], line["arm"]) == (name, arm)), key=lambda line: line["seed"])


FIGURES = {"to_90": ("steps to 90 %", 0), "area": ("area", 2), "training": ("training", 2)}
"""Names and digits of figures"""


def table(name: str) -> str:
    asked = SETS[name]
    found = {arm: [figures(run, asked.goal) for run in runs_of(name, arm)] for arm in asked.arms}
    shown = ["to_90"] * (asked.goal is not None) + ["area"] + ["training"] * any(key == "training" for *_, key in asked.pairs)
    rows = [
        ", ".join(f"{word} {value:.2f}" for word, value in (("90 %:", asked.goal), ("best", asked.best)) if value is not None),
        "",
        f"| arm | seeds | {' | '.join(FIGURES[key][0] for key in shown)} | finals |",
        "|---|---|" + "---|" * len(shown) + "---|",
    ]
    for arm, each in found.items():
        if each:
            finals = ", ".join(f"{run['final']['mean']:.2f}" for run in runs_of(name, arm))
            cells = []
            for key in shown:
                values, digits = [one[key] for one in each], FIGURES[key][1]
                cells.append(f"{np.mean(values):,.{digits}f} ± {interval(values):,.{digits}f}")
            rows.append(f"| {arm} | {len(each)} | {' | '.join(cells)} | {finals} |")
    tests = {}
    for one, other, key in asked.pairs:
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
        train_all(options.name, options.seeds or SETS[options.name].seeds, options.folder.resolve())
    print(table(options.name))


if __name__ == "__main__":
    main()
