"""Laws of `deeprl scaling` beside runs that they have not seen: a grid of small runs predicts the steps to a return at a larger ratio.

    python -m benchmarks.scaling SET --folder FOLDER    trains what is not stored, one run after the other, and prints the table
    python -m benchmarks.scaling SET --table            prints what is stored
    SET: pendulum, inverted_pendulum, pendulum_four, inverted_pendulum_four, breakout_dqn, breakout_idqn

The rule, written before the runs. SAC with networks of 64-64; the grid is the replay ratio σ = 1, 2, 4, batches of 64, 128, 256, rates of
3e-4, 1e-3, 3e-3 for actor and critics, seeds 0 and 1. Its laws are those that `deeprl scaling FOLDER/SET/grid` prints: steps to each of the
six returns which it chooses, as a function of σ, and the best batch and rate. Then three runs with σ = 8, batch and rate of the laws, seeds
10 to 12, which the laws do not know. A return is *predicted* if the law's number of steps differs from that of the mean curve of the three
by at most 30 %; the laws *hold* on a task if all of the six returns are. A return whose law the page itself does not extrapolate is not
predicted. Nothing was tried before with this grid; one run (seed 100, σ = 4, rate 1e-3) told that 4,000 steps are enough for Pendulum.

The sets of `four` have a second rule, written when the first had been missed on Pendulum (2 of 6) and before its own runs: the same bar,
with the runs of the first set and those of σ = 1/2 in twice the steps, because from four ratios on a law has the floor D_min of the paper;
three fresh runs with σ = 8, seeds 13 to 15.

`breakout_dqn` and `breakout_idqn`, written before any run of theirs: the first rule on MinAtar's Breakout with 30,000 steps, DQN and i-DQN
with the settings of `configs/tuned/minatar` but for these: batches of 32, 64, 128 and rates of 1e-4, 3e-4, 1e-3 (there 32 and 2.5e-4), and
1,000 steps before the first update. Results are in benchmarks/results/scaling.json.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.curves import read
from benchmarks.learning import RESULTS, after, keep, stored, train
from deeprl.tools.scaling.cells import Cell
from deeprl.tools.scaling.fits import reached
from deeprl.tools.scaling.study import Study, at, proposed, study

FILE = RESULTS / "scaling.json"
RATIOS, LOWER = (1, 2, 4), 0.5
SEEDS, AHEAD = (0, 1), 8
WITHIN = 0.3
COMMON = "evaluation.num=10 checkpoint.every=null log.every=500 runtime.threads=1 accelerate=compiled"


class Task(NamedTuple):
    words: str
    steps: int
    batches: tuple[int, ...]
    rates: tuple[float, ...]
    keys: tuple[str, ...]
    """Of the rate"""


def continuous(env: str, steps: int) -> Task:
    words = (
        "agent=sac agent.torso.hidden=[64,64] agent.actor_torso.hidden=[64,64] replay.learning_starts=500 evaluation.every=250 "
        f"evaluation.episodes=10 evaluation.final_episodes=10 env={env}"
    )
    return Task(words, steps, (64, 128, 256), (3e-4, 1e-3, 3e-3), ("agent.optimizer.lr", "agent.actor_optimizer.lr"))


def breakout(agent: str) -> Task:
    words = (
        f"agent={agent} env=minatar/breakout replay.learning_starts=1000 evaluation.every=1000 evaluation.episodes=20 "
        "evaluation.final_episodes=20"
    )
    return Task(words, 30_000, (32, 64, 128), (1e-4, 3e-4, 1e-3), ("agent.optimizer.lr",))


TASKS = {
    "pendulum": continuous("classic/pendulum", 5000),
    "inverted_pendulum": continuous("mujoco/inverted_pendulum", 8000),
    "breakout_dqn": breakout("dqn"),
    "breakout_idqn": breakout("idqn"),
}
FOUR = "_four"
SETS = [*TASKS, f"pendulum{FOUR}", f"inverted_pendulum{FOUR}"]


def grid(name: str) -> list[tuple[float, int, float, int]]:
    """Ratio, batch, rate and seed of each run from which the laws are made."""
    task, ratios = TASKS[name.removesuffix(FOUR)], (LOWER, *RATIOS) if name.endswith(FOUR) else RATIOS
    return list(product(ratios, task.batches, task.rates, SEEDS))


def fresh(name: str) -> tuple[int, ...]:
    """Seeds of the runs that the laws do not know."""
    return (13, 14, 15) if name.endswith(FOUR) else (10, 11, 12)


def trained(name: str, ratio: float, batch: int, rate: float, seed: int, folder: Path, until: float) -> bool:
    """Whether the run is stored; a run that is not is trained."""
    own = {"set": name.removesuffix(FOUR), "ratio": ratio, "batch": batch, "rate": rate, "seed": seed}
    if any(own.items() <= line.items() for line in stored(FILE)):
        return True
    task = TASKS[own["set"]]
    cell = f"replay.ratio={ratio} replay.batch_size={batch} {' '.join(f'{key}={rate}' for key in task.keys)} seed={seed}"
    words = f"{task.words} {COMMON} steps={2 * task.steps if ratio == LOWER else task.steps} {cell}"
    place = folder / own["set"] / ("ahead" if ratio == AHEAD else "grid") / f"{ratio}-{batch}-{rate}-{seed}"
    if not train(place, words.split(), until):
        return False
    keep({**read(place), **own, "overrides": words}, FILE)
    return True


def cells(lines: list[dict]) -> list[Cell]:
    """Runs that differ in their seeds alone, as `deeprl scaling` groups run folders."""
    found: dict[tuple[float, float, float], list[dict]] = {}
    for line in sorted(lines, key=lambda line: line["seed"]):
        found.setdefault((line["ratio"], line["batch"], line["rate"]), []).append(line)
    return [
        Cell(
            *place,
            np.array([step for step, _ in each[0]["curve"]]),
            np.array([[value for _, value in line["curve"]] for line in each]),
            np.array([line["wall_seconds"] / line["steps"] for line in each]),
        )
        for place, each in sorted(found.items())
    ]


def of(name: str, places: list[tuple[float, int, float, int]]) -> list[dict]:
    """What is stored of these runs."""
    own = [line for line in stored(FILE) if line["set"] == name.removesuffix(FOUR)]
    return [line for line in own if (line["ratio"], line["batch"], line["rate"], line["seed"]) in places]


def ahead(found: Study) -> tuple[int, float]:
    """Batch and rate of the laws at `AHEAD`, the rate with three digits."""
    return int(proposed(found.batch, AHEAD)), float(f"{float(at(found.rate, AHEAD)):.3g}")


def train_all(name: str, folder: Path, until: float, reverse: bool) -> None:
    places = grid(name)
    for place in reversed(places) if reverse else places:
        if not trained(name, *place, folder, until):
            return
    if len(lines := of(name, places)) == len(places):
        for seed in fresh(name):
            trained(name, AHEAD, *ahead(study(cells(lines))), seed, folder, until)


def steps_or_none(steps: float) -> str:
    return "none" if np.isnan(steps) else f"{steps:,.0f}"


def table(name: str) -> str:
    lines = of(name, grid(name))
    if len(lines) < len(grid(name)):
        return f"{len(lines)} runs of the grid are stored: laws are those of the whole grid"
    found = study(cells(lines))
    unseen = of(name, [(AHEAD, *ahead(found), seed) for seed in fresh(name)])
    rows = [
        f"best {each.name}: {float(at(each, 1)):.3g} · ratio^{each.law.slope:.2f}, slope {each.low:.2f} to {each.high:.2f}"
        for each in (found.batch, found.rate)
        if each.law
    ]
    ratios = ", ".join(f"{sigma:g}" for sigma in found.batch.sigma)
    rows += ["", f"| return | steps at a ratio of {ratios} | predicted at {AHEAD} | taken | within 30 % |", "|---" * 5 + "|"]
    seen = cells(unseen)[0] if len(unseen) == len(fresh(name)) else None
    for level in found.levels:
        known = ", ".join(map(steps_or_none, level.data))
        said = float(level.law(AHEAD)) if level.law and not level.doubt else float("nan")
        taken = reached(seen.steps, seen.returns.mean(0), level.threshold) if seen else float("nan")
        verdict = "yes" if abs(said / taken - 1) <= WITHIN else "no"
        rows.append(
            f"| {level.threshold:.4g} | {known} | {steps_or_none(said)} | {steps_or_none(taken)} | {verdict if seen else 'not run'} |"
        )
    ran = f"ratio {AHEAD}: batch {seen.batch:.0f}, rate {seen.rate:g}, {seen.returns.shape[0]} seeds" if seen else "nothing was run ahead"
    return "\n".join([*rows, "", ran, *found.notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETS, metavar="SET")
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--reverse", action="store_true", help="the grid from its end: for a second process")
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    if not options.table:
        if options.folder is None:
            parser.error("--folder says where the run folders go; or print what there is with --table")
        train_all(options.name, options.folder, after(options.minutes), options.reverse)
    print(table(options.name))


if __name__ == "__main__":
    main()
