"""The claims of the lab's papers, measured by exact evaluation of every policy that was played.

python -m benchmarks.lab NAME [--seeds 20] [--first 0] [--jobs 1] [--json FILE] [--plot FILE]
    NAME: dtr, robust_rvi, static_cvar, recursive_oce, iterated_cvar, ravi_ucb, moco, fqi_log, pnlsvi, vwls_mdvi, loop, reward_free,
        cooperative_lsvi, latent_mdp, dueling, random_duels, contextual, adversarial_mdp
    python -m benchmarks.lab page --plot FILE    the regret of all stored results, on one page

Seeds are FIRST, FIRST + 1, …: seeds that were seen while settings were chosen give figures that are too good. With --json the arms of an
experiment of regret that the file already has, with the same settings, seeds and length, are not run again.

Regret is shown after a quarter, a half and all of the episodes, as mean ± half of a 95 % interval (Student's t). `slope` is that of
ln regret against ln t over the last nine tenths, fitted for each seed: 1 is linear, ½ is √T. `doubling` is the mean regret of the last half
over that of the quarter before: 2 for linear regret, √2 for √T, 1 for ln T; empty where that quarter had none. The collector of training
plays: a row is what train.py logs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.lab.experiments import REGRET, SETS, curve, gain_error, times, worst_cases
from benchmarks.lab.planning import TABLES
from benchmarks.lab.statistics import shown, slopes

RESULTS = Path(__file__).resolve().parents[1] / "results"


def commit() -> str:
    """The commit that computes, as in the other result files."""
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS, capture_output=True, text=True).stdout.strip()


def regret(name: str, seeds: range, pool: ProcessPoolExecutor, before: dict, keep: Callable[[dict], object]) -> dict:
    """
    Args:
        before: what an earlier run with the same seeds has found, or nothing. Its arms are kept if it had the same times.
        keep: called with what is known after each arm.
    """
    experiment = REGRET[name]()
    at = times(experiment.episodes)
    quarter, half = (int(np.flatnonzero(at == int(experiment.episodes * share))[0]) for share in (0.25, 0.5))
    print(f"{name}: {experiment.claim}; {len(seeds)} seeds\n")
    columns = ("T/4", "T/2", f"T={experiment.episodes}", "slope", "doubling", "suboptimality", "switches", "ms/episode")
    columns += tuple(metric.partition("/")[2] for metric in experiment.shown)
    print(f"{'arm':38}" + "".join(f"{column:>18}" for column in columns))
    known = before.get("arms", {}) if before.get("times") == at.tolist() else {}
    rows: dict[str, dict] = {}
    for arm, row in known.items():
        if arm in experiment.arms and row.get("settings") == experiment.arms[arm].settings:  # older files do not tell
            rows[arm] = row
    found = {"experiment": name, "claim": experiment.claim, "seeds": len(seeds), "first": seeds.start, "times": at.tolist(), "arms": rows}
    for arm in experiment.arms:
        if arm in rows:
            print(f"{arm:38}  is in the file", flush=True)
            continue
        runs = list(pool.map(partial(curve, name, arm), seeds))
        curves, rest = np.array([run[0] for run in runs]), np.array([run[1:4] for run in runs])
        mean = curves.mean(0)
        before_half = mean[half] - mean[quarter]
        doubling = float((mean[-1] - mean[half]) / before_half) if before_half > 1e-6 * abs(mean[-1]) else None
        cells = [shown(curves[:, i], 1 if mean[-1] > 10 else 3) for i in (quarter, half, -1)] + [
            shown(slopes(curves, at)),
            "" if doubling is None else f"{doubling:.2f}",
        ]
        cells += [shown(rest[:, 0], 4), f"{rest[:, 1].mean():.0f}", f"{rest[:, 2].mean():.2f}"]
        metrics = np.array([run[4] for run in runs]).mean(0)  # (times, metrics)
        cells += [f"{column[half]:.0f} → {column[-1]:.0f}" for column in metrics.T]
        print(f"{arm:38}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
        rows[arm] = {"regret": curves.round(4).tolist(), "slope": slopes(curves, at).round(4).tolist(), "doubling": doubling,
                     "suboptimality": rest[:, 0].round(6).tolist(), "switches": rest[:, 1].tolist()}  # fmt: skip
        rows[arm] |= {"settings": experiment.arms[arm].settings, "commit": commit()}
        rows[arm] |= dict(zip(experiment.shown, metrics.T.round(1).tolist()))
        keep(found)
    return found


def robust(seeds: range, pool: ProcessPoolExecutor) -> dict:
    rows = {}
    print("robust_rvi: f(Q) comes near the robust gain; robust policies are better in the worst case")
    print(f"{len(seeds)} seeds, as many garnets\n")
    columns = ("updates a pair", "f(Q) - gain", "largest |error|", "policies differ", "gain: robust", "nominal")
    print(f"{'set':34}" + "".join(f"{column:>20}" for column in columns))
    for each, sweeps in SETS.items():
        errors = np.array(list(pool.map(partial(gain_error, each, sweeps), seeds)))
        cases = list(pool.map(partial(worst_cases, each), seeds))
        robust, nominal, differ = (np.array(column) for column in zip(*cases))
        cells = [sweeps, shown(errors, 4), f"{np.abs(errors).max():.4f}", f"{differ.sum()} of {len(seeds)}"]
        cells += [f"{robust.mean():.4f}", f"{nominal.mean():.4f}"]
        print(f"{each!s:34}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
        rows[str(each)] = {"updates": sweeps, "error": errors.round(6).tolist(), "differ": differ.tolist(),
                           "robust": robust.round(8).tolist(), "nominal": nominal.round(8).tolist()}  # fmt: skip
    return {"experiment": "robust_rvi", "seeds": len(seeds), "first": seeds.start, "sets": rows}


def plot(found: list[dict], path: Path) -> None:
    """Regret over episodes on one page, for each experiment an axis and for each arm a curve."""
    from matplotlib.figure import Figure

    across = min(len(found), 3)
    down = -(-len(found) // across)
    figure = Figure(figsize=(6 * across, 4.5 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(found) :]:
        axes.set_axis_off()
    for axes, each in zip(grid, found):
        positive = True
        for arm, row in each["arms"].items():
            curves = np.array(row["regret"])
            line = axes.plot(each["times"], curves.mean(0), label=arm, linewidth=1)[0]
            low, high = np.quantile(curves, [0.1, 0.9], axis=0)
            axes.fill_between(each["times"], low, high, alpha=0.1, color=line.get_color())
            positive = positive and bool((low > 0).all())
        scale = "log" if positive else "linear"  # regret to the best policy in hindsight may be negative
        axes.set(xscale="log", yscale=scale, title=each["experiment"], xlabel="episodes", ylabel="regret (mean; 10 % to 90 % of seeds)")
        axes.legend(fontsize=5, ncols=2)
    figure.savefig(path, dpi=60, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})


def page(path: Path) -> None:
    """The regret of all stored results on one page, drawn into a file."""
    stored = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("lab_*.json"))]
    plot([found for found in stored if "times" in found], path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=(*REGRET, "robust_rvi", *TABLES, "page"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.name == "page":
        if options.plot is None:
            parser.error("page needs --plot FILE")
        page(options.plot)
        return

    def keep(found: dict) -> None:
        if options.json:
            options.json.write_text(json.dumps(found) + "\n")

    seeds, before = range(options.first, options.first + options.seeds), {}
    if options.json and options.json.exists():
        before = json.loads(options.json.read_text())
        if (before["experiment"], before["seeds"], before.get("first", 0)) != (options.name, options.seeds, options.first):
            parser.error(f"--json={options.json} holds {before['experiment']} with other seeds: name another file")

    with ProcessPoolExecutor(options.jobs, mp_context=get_context("forkserver")) as pool:
        table = (TABLES | {"robust_rvi": robust}).get(options.name)
        found = table(seeds, pool) if table else regret(options.name, seeds, pool, before, keep)
    keep(found)
    if options.plot and "times" in found:
        plot([found], options.plot)


if __name__ == "__main__":
    main()
