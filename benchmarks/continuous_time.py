"""Policy evaluation in continuous time: criteria on paths of diffusions, and the quadrature of integral reinforcement learning.

    python -m benchmarks.continuous_time martingale --folder FOLDER [--seeds 0]    trains what is not stored, and prints the table
    python -m benchmarks.continuous_time martingale --table                        prints what is stored
    python -m benchmarks.continuous_time quadrature                                computes its table, a minute

The rule, written before the runs: seeds 0 to 2, none left out. `martingale`: 1,000 paths of an Ornstein-Uhlenbeck process with the truth
(1/3, 1/12) and a mesh of 0.01, whose own solution is (0.3383, 0.0833), and 2,000 of Brownian motion with (1, 1) and 0.005. Confirmed if the
mean over the seeds of both coefficients is within 3 % (Brownian: 5 %) of the truth for orthogonality and martingale loss. The squared TD
error is shown as the wrong criterion if, with every seed, its first coefficient is below a tenth of the truth (Ornstein-Uhlenbeck), and
within 0.05 of 3/5 (Brownian). `quadrature` has no seeds. Results: benchmarks/results/continuous_time.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.curves import read
from benchmarks.learning import RESULTS, keep, stored, train
from deeprl.running.session.api import load
from deeprl_lab.mathematics.integral_rl import linear_plant, nonlinear_plant, policy_iteration
from deeprl_lab.mathematics.quadrature import bayesian, trapezoid

FILE = RESULTS / "continuous_time.json"
SEEDS = range(3)
CRITERIA = ("orthogonality", "martingale_loss", "squared_error")
WORLDS = {"ornstein_uhlenbeck": "env.step=0.01 steps=800000", "brownian": "steps=400000"}
COMMON = "agent=lab/martingale env.num=50 evaluation.every=null checkpoint.every=null runtime.threads=1"
SAMPLES, LENGTH, SCALE = range(5, 16), 0.1, 0.3


def train_all(seeds: list[int], folder: Path) -> None:
    for seed in seeds:
        for world, own in WORLDS.items():
            for criterion in CRITERIA:
                if any((line["world"], line["criterion"], line["seed"]) == (world, criterion, seed) for line in stored(FILE)):
                    continue
                given, place = (
                    f"{COMMON} env=lab/{world} agent/criterion={criterion} {own} seed={seed}",
                    folder / f"{world}-{criterion}-{seed}",
                )
                if train(place, given.split()):
                    w = load(place, allow=("deeprl_lab",)).agent.w.tolist()
                    keep({"world": world, "criterion": criterion, **read(place), "w": w, "overrides": given}, FILE)


def table() -> str:
    rows = ["| world | criterion | coefficients of each seed | mean |", "|---|---|---|---|"]
    for world in WORLDS:
        for criterion in CRITERIA:
            found = [line["w"] for line in stored(FILE) if (line["world"], line["criterion"]) == (world, criterion)]
            if found:
                each = "; ".join(f"({p:.4f}, {q:.4f})" for p, q in found)
                rows.append(f"| {world} | {criterion} | {each} | {np.round(np.mean(found, 0), 4).tolist()} |")
    return "\n".join(rows)


def quadrature() -> str:
    """Errors after convergence, and the slopes of their logarithms against those of the intervals."""
    rows = ["| plant | rule | " + " | ".join(f"N = {n}" for n in SAMPLES) + " | slope |", "|---" * (len(SAMPLES) + 3) + "|"]
    for plant, tolerance, name in ((linear_plant(), 1e-3, "linear"), (nonlinear_plant(), 1e-9, "nonlinear")):
        for rule in ("trapezoid", "Matérn 7/2"):
            errors = []
            for n in SAMPLES:
                weights = trapezoid(n, LENGTH) if rule == "trapezoid" else bayesian(n, LENGTH, SCALE)
                errors.append(np.linalg.norm(policy_iteration(plant, weights, tolerance=tolerance, resolution=28)[-1] - plant.truth))
            slope = np.polyfit(np.log(np.array(SAMPLES) - 1), np.log(errors), 1)[0]
            rows.append(f"| {name} | {rule} | " + " | ".join(f"{error:.3g}" for error in errors) + f" | {slope:.2f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("martingale", "quadrature"), metavar="SET")
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    if args.name == "quadrature":
        print(quadrature())
        return
    if not args.table:
        if args.folder is None:
            parser.error("--folder says where the runs go")
        train_all(args.seeds, args.folder)
    print(table())


if __name__ == "__main__":
    main()
