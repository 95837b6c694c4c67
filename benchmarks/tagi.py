"""Networks of normal weights: inference of inputs by a derivative that is learned from values alone, and classification.

    python -m benchmarks.tagi [spirals] [--seeds 0 1 2]       half a minute a seed
    python -m benchmarks.tagi pendulum --folder FOLDER        some minutes a seed

x³ − 3x on 100 points in [−2, 2] with noise 0.1, tanh 64, ReLU 64, 100 epochs of single points, R = 0.1; the input has the variance 0.001 in
each of 1,000 steps. The rule, written before the run: seeds 10 to 12 (settings were chosen with 0 and 1), none left out; confirmed if, with
every seed, the mean absolute error of the derivative on [−1.5, 1.5] is below 0.5, and from x = −0.25 the maximum at −1 and the minimum at
1, behind the inflection, are reached within 0.15. Results: benchmarks/results/tagi.json.

`spirals`: three spirals of 200 points each with noise, two inputs, tanh 64, ReLU 64, an output for each class that is told 1 or −1, 30
epochs of batches of 10, R = 1; the largest mean is the answer. The rule, written before the run: seeds 10 to 12 (settings were chosen with
0 and 1), none left out; confirmed, if with every seed at least 0.95 of 1,500 other points are told right. Results:
benchmarks/results/tagi_spirals.json.

`pendulum`: agent=lab/tagi on InvertedPendulum-v5, 100,352 steps. The rule, written before the runs: seeds 10 to 12 (settings were chosen
with 100), none left out; confirmed, if with every seed the mean of 20 final episodes, of the actor's means and with the last weights, is at
least 900. The paper trains for two million steps. A first rule had seeds 0 to 2, which ended at 1000, 2 and 1000: in the first interval
observations and rewards were not normalised yet, and the actor of seed 1 saturated. Results: benchmarks/results/tagi_pendulum.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.learning import RESULTS, keep, stored
from benchmarks.trained import trained
from deeprl.running.runs.folder import read_lines
from deeprl_lab.mathematics.tagi import BayesianLayer, IndependentNormal, backward, derivative, forward, network, observed, uphill

FILE, SPIRALS, PENDULUM = RESULTS / "tagi.json", RESULTS / "tagi_spirals.json", RESULTS / "tagi_pendulum.json"
WORDS = (
    "agent=lab/tagi env=mujoco/inverted_pendulum steps=100352 evaluation.every=null evaluation.final_episodes=20 evaluation.num=20 "
    "checkpoint.every=null log.every=0.1 runtime.threads=1"
)
PENDULUM_SEEDS, GOAL = range(10, 13), 900.0
SEEDS = range(10, 13)
START, VARIANCE, STEPS = -0.25, 1e-3, 1000


def fitted(seed: int) -> list[BayesianLayer]:
    random = np.random.default_rng(seed)
    x = np.linspace(-2, 2, 100)[:, None]
    y = x**3 - 3 * x + 0.1 * random.standard_normal(x.shape)
    layers = network((1, 64, 64, 1), ("tanh", "relu", "identity"), random)
    for _ in range(100):
        for i in random.permutation(100):
            units = forward(layers, IndependentNormal(x[i : i + 1], np.zeros((1, 1))))
            layers, _ = backward(layers, units, observed(units[-1], y[i : i + 1], 0.1))
    return layers


def optimum(layers: list[BayesianLayer], sign: float) -> float:
    at = np.full((1, 1), START)
    for _ in range(STEPS):
        x = IndependentNormal(at, np.full((1, 1), VARIANCE))
        at = uphill(x, derivative(layers, forward(layers, x)), sign).mean
    return float(at[0, 0])


def line(seed: int) -> dict[str, float]:
    layers, x = fitted(seed), np.linspace(-1.5, 1.5, 61)[:, None]
    found = derivative(layers, forward(layers, IndependentNormal(x, np.full_like(x, VARIANCE)))).g.mean
    error = float(np.abs(found - (3 * x**2 - 3)).mean())
    return {"seed": seed, "error": error, "maximum": optimum(layers, 1.0), "minimum": optimum(layers, -1.0)}


CLASSES, NOISE, EPOCHS, BATCH, VARIANCE_OF_CLASS = 3, 0.1, 30, 10, 1.0


def spirals(points: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points (CLASSES · points, 2), of a deviation of about 1, and their classes."""
    t, kind = random.uniform(0.2, 1.0, (CLASSES, points)), np.arange(CLASSES)[:, None]
    angle = 4.0 * t + 2 * np.pi * kind / CLASSES
    x = np.stack([t * np.cos(angle), t * np.sin(angle)], -1) + 0.3 * NOISE * random.standard_normal((CLASSES, points, 2))
    return 2.0 * x.reshape(-1, 2), np.repeat(np.arange(CLASSES), points)


def classified(seed: int) -> dict[str, float]:
    """Share of other points that are told right."""
    random = np.random.default_rng(seed)
    (x, kind), (other, truth) = spirals(200, random), spirals(500, random)
    y = 2.0 * np.eye(CLASSES)[kind] - 1
    layers = network((2, 64, 64, CLASSES), ("tanh", "relu", "identity"), random)
    for _ in range(EPOCHS):
        for rows in np.split(random.permutation(len(x)), len(x) // BATCH):
            units = forward(layers, IndependentNormal(x[rows], np.zeros((BATCH, 2))))
            layers, _ = backward(layers, units, observed(units[-1], y[rows], VARIANCE_OF_CLASS))
    found = forward(layers, IndependentNormal(other, np.zeros_like(other)))[-1].z.mean.argmax(-1)
    return {"seed": seed, "right": float((found == truth).mean())}


def balanced(seed: int, folder: Path) -> dict:
    """Train one run; its line of results."""
    given = [*WORDS.split(), f"seed={seed}"]
    run = trained(given, folder / str(seed))
    final = (run.read_summary() or {})["final"]
    lines = [line for _, line in read_lines(run.path / "metrics.jsonl") if "rollout/ep_rew_mean" in line]
    curve = [[line["step"], round(line["rollout/ep_rew_mean"], 1)] for line in lines]
    kept = {key: final[key] for key in ("mean", "std", "episodes")}
    return {"seed": seed, "final": kept, "training": curve, "overrides": " ".join(given)}


def table_of_pendulum() -> str:
    lines = sorted((line for line in stored(PENDULUM) if line["seed"] in PENDULUM_SEEDS), key=lambda line: line["seed"])
    whole, good = len(lines) == len(PENDULUM_SEEDS), all(line["final"]["mean"] >= GOAL for line in lines)
    said = "open" if not whole else "confirmed" if good else "not confirmed"
    return "\n".join(
        [*(f"{line['seed']}: {line['final']['mean']:.1f}" for line in lines), f"{len(lines)} of {len(PENDULUM_SEEDS)} seeds: {said}"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=["inference", "spirals", "pendulum"], default="inference", metavar="SET")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--folder", type=Path, help="of the run folders")
    args = parser.parse_args()
    if args.name == "pendulum":
        for seed in args.seeds or PENDULUM_SEEDS if args.folder else ():
            if all(line["seed"] != seed for line in stored(PENDULUM)):
                keep(balanced(seed, args.folder), PENDULUM)
        print(table_of_pendulum())
        return
    file, measured = (SPIRALS, classified) if args.name == "spirals" else (FILE, line)
    for seed in args.seeds or SEEDS:
        if all(each["seed"] != seed for each in stored(file)):
            keep(measured(seed), file)
    if args.name == "spirals":
        print(*(f"{each['seed']}: {each['right']:.3f}" for each in sorted(stored(file), key=lambda each: each["seed"])), sep="\n")
        return
    print("| seed | error of the derivative | maximum, of -1 | minimum, of 1 |\n|---|---|---|---|")
    for each in sorted(stored(FILE), key=lambda each: each["seed"]):
        print(f"| {each['seed']} | {each['error']:.3f} | {each['maximum']:.3f} | {each['minimum']:.3f} |")


if __name__ == "__main__":
    main()
