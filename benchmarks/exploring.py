"""Claims about rewards that an agent gives itself, and about general utilities, in small worlds.

    python -m benchmarks.exploring NAME --folder FOLDER     train what is missing in benchmarks/results/exploring.json, print the table
    python -m benchmarks.exploring NAME --table             print what is stored

The rule, written before the runs: seeds 0 to 4, none left out, world number = seed; settings were chosen on worlds and seeds from 100 on.

deep_sea     DeepSea 8, 10 and 12; PPO, PPO with RND, LPO with linear widths that switches at every rollout ("width"), LPO (linear) and LPO
             (network). Measured: the first step at which the mean return of the last 100 training episodes is above 0.9 within the budget,
             switches of the policy and rollouts up to the end. Confirmed, if LPO reaches it with every seed of every size, plain PPO with
             none, and switches are below a tenth of the rollouts.
door_key     DoorKey 8 × 8; PPO, and PPO with annotated rewards: classifier, table and ranking, with 0 and 0.3 wrong answers. Measured: the
             first step at which the mean return of the last 100 training episodes is above 0.8; a run that never is counts with its
             budget. Confirmed, if the interval of the difference (Welch) to plain PPO is below 0 for all three models without wrong
             answers; and "degrade less", if those of classifier and ranking minus table with 0.3 are below 0. Counted are means of a
             whole hundred, from the step by which so many episodes have ended whatever their lengths: the first runs counted the
             first mean of fewer, which two seeds of every arm met at 1,504 by their very first lucky episodes.
utilities    entropy of the occupancy on the 5 × 5 grid beside the exact optimum; with corrections and without (cap=0), 400 batches of 10
             trajectories. Measured: optimum minus entropy at the end. Confirmed, if the interval with corrections is below 0.05 nats.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import scipy

from benchmarks.trained import trained

STORED = Path(__file__).parent / "results" / "exploring.json"
SEEDS = range(5)
NUM = 16
"""Environments side by side"""
QUIET = ("evaluation.every=null", "evaluation.final_episodes=10", "checkpoint.every=null", "log.every=0.005", "runtime.threads=1")
PPO = ("agent=ppo", f"env.num={NUM}", "replay.epochs=4", "replay.minibatches=4", "agent.optimizer.schedule.end=1", *QUIET)
SEA = (*PPO, "env=toy/deep_sea", "replay.length=24", "agent.surrogate.entropy_weight=0.01", "agent.optimizer.lr=1e-3")
DOOR = (*PPO, "env=toy/door_key", "replay.length=128", "agent.surrogate.entropy_weight=0.01", "agent.optimizer.lr=1e-3", "steps=300000")
GRID = ("agent=lab/general_utilities", "env=lab/open_grid", "discount=0.95", "steps=240000", *QUIET)
SWITCHES = {
    "ppo": (),
    "rnd": ("agent/intrinsic=rnd",),
    "width": ("agent/intrinsic=lpo_linear", "agent.intrinsic.sensitivity=1e9", "agent.intrinsic.phase=1"),
    "lpo_linear": ("agent/intrinsic=lpo_linear", "agent.intrinsic.sensitivity=0.25"),
    "lpo": ("agent/intrinsic=lpo", "agent.intrinsic.sensitivity=0.25"),
}
MODELS = {"classifier": "annotated", "table": "annotated_table", "ranking": "annotated_ranking"}
ANNOTATED = {
    f"{model}, {error}": (f"agent/intrinsic={option}", f"agent.intrinsic.error={error}")
    for error in (0.0, 0.3)
    for model, option in MODELS.items()
}
STEPS = {8: 40_000, 10: 60_000, 12: 100_000}
ARMS: dict[str, dict[str, tuple[str, ...]]] = {
    "deep_sea": {
        f"{size}, {arm}": (*SEA, f"env.size={size}", f"steps={steps}", *own)
        for size, steps in STEPS.items()
        for arm, own in SWITCHES.items()
    },
    "door_key": {"ppo": DOOR, **{arm: (*DOOR, *own) for arm, own in ANNOTATED.items()}},
    "utilities": {"corrected": GRID, "plain": (*GRID, "agent.cap=0")},
}
"""Set -> arm -> overrides"""
ABOVE = {"deep_sea": 0.9, "door_key": 0.8}


def words(name: str, arm: str, seed: int) -> list[str]:
    return [*ARMS[name][arm], f"seed={seed}", *([f"env.world={seed}"] if name == "deep_sea" else [])]


def measured(folder: Path, name: str, arm: str, seed: int) -> dict:
    """Train one run; its line of results."""
    run = trained(words(name, arm, seed), folder / f"{name}-{arm}-{seed}".replace(", ", "_"))
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    found: dict = {"set": name, "arm": arm, "seed": seed, "steps": run.read_config()["steps"]}
    if name == "utilities":
        return {**found, "suboptimality": [line["train/suboptimality"] for line in lines if "train/suboptimality" in line][-1]}
    limit = run.read_config()["env"]["size" if name == "deep_sea" else "max_episode_steps"]
    last = {key: value for line in lines for key, value in line.items()}
    found |= {"reached": first_above(lines, ABOVE[name], NUM * math.ceil(100 / NUM) * limit), "return": last["rollout/ep_rew_mean"]}
    return found | {key: last[f"rollout/{key}"] for key in ("policy_switches", "rollouts") if f"rollout/{key}" in last}


def first_above(lines: Iterable[dict], goal: float, least: int) -> int | None:
    """The first step, from `least` on, at which the mean return of the last training episodes is above the goal."""
    means = ((line["step"], line.get("rollout/ep_rew_mean")) for line in lines)
    return next((step for step, mean in means if step >= least and mean is not None and mean > goal), None)


def stored() -> list[dict]:
    return json.loads(STORED.read_text()) if STORED.exists() else []


def train(name: str, folder: Path, seeds: range) -> None:
    for arm in ARMS[name]:
        for seed in seeds:
            if not any((line["set"], line["arm"], line["seed"]) == (name, arm, seed) for line in stored()):
                line = measured(folder, name, arm, seed)
                lines = sorted([*stored(), line], key=lambda line: (line["set"], line["arm"], line["seed"]))
                STORED.write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")
                print(line, flush=True)


def interval(values: np.ndarray) -> str:
    """Mean and 95 %, Student's."""
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{digits(values.mean())} ± {digits(half, 3)}"


def digits(value: float, most: int = 4) -> str:
    """Steps as whole numbers, small quantities with some digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{most}g}"


def difference(one: np.ndarray, other: np.ndarray) -> str:
    found = scipy.stats.ttest_ind(one, other, equal_var=False)
    low, high = found.confidence_interval(0.95)
    return f"{digits(one.mean() - other.mean())} [{digits(low)}, {digits(high)}]"


def table(name: str) -> Iterator[str]:
    lines, columns = [line for line in stored() if line["set"] == name], {}
    yield "| arm | seeds | figures |"
    yield "|---|---|---|"
    for arm in ARMS[name]:
        runs = [line for line in lines if line["arm"] == arm]
        if len(runs) < 2:
            continue
        if name == "utilities":
            columns[arm] = np.array([run["suboptimality"] for run in runs])
            yield f"| {arm} | {len(runs)} | optimum minus entropy {interval(columns[arm])} |"
            continue
        columns[arm] = np.array([run["reached"] or run["steps"] for run in runs], float)
        each = ", ".join("never" if run["reached"] is None else f"{run['reached']:,}" for run in runs)
        cells = [f"reached with {sum(run['reached'] is not None for run in runs)}, at {interval(columns[arm])} ({each})"]
        cells.append("returns " + ", ".join(f"{run['return']:.2f}" for run in runs))
        if "rollouts" in runs[0]:
            switches = ", ".join(f"{run['policy_switches']:.0f}" for run in runs)
            cells.append(f"switches {switches} of {runs[0]['rollouts']:.0f} rollouts")
        yield f"| {arm} | {len(runs)} | {'; '.join(cells)} |"
    for arm, baseline in pairs(name):
        if arm in columns and baseline in columns:
            yield f"{arm} minus {baseline}: {difference(columns[arm], columns[baseline])}"


def pairs(name: str) -> list[tuple[str, str]]:
    if name == "utilities":
        return [("corrected", "plain")]
    if name != "door_key":
        return []
    return [*((f"{model}, 0.0", "ppo") for model in MODELS), *((f"{model}, 0.3", "table, 0.3") for model in MODELS if model != "table")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=ARMS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        if given.folder is None:
            parser.error("--folder FOLDER says where runs go")
        train(given.name, given.folder, SEEDS)
    print("\n".join(table(given.name)))


if __name__ == "__main__":
    main()
