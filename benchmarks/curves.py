"""Evaluation curves of run folders as one table, and as JSON to keep.

python -m benchmarks.curves RUN [RUN ...] [--points 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.runs.places import find_runs

TRAINING = "rollout/ep_rew_mean"


def read(path: Path) -> dict:
    """One run: its names, seed, curve of evaluation means, what summary.json says, and where its last start was made."""
    folder = RunFolder(path)
    config, summary, start = folder.read_config(), folder.read_summary() or {}, folder.read_system()[-1]
    curve = [(line["step"], float(np.mean(line["returns"]))) for line in folder.read_evaluations()]
    training = [line[TRAINING] for _, line in read_lines(path / "metrics.jsonl") if line.get(TRAINING) is not None]
    return {
        "agent": config["names"]["agent"],
        "env": config["names"]["env"],
        "seed": config["seed"],
        "steps": config["steps"],
        "mode": config["accelerate"]["mode"],
        "curve": [[step, round(mean, 2)] for step, mean in curve],
        "last_four": round(float(np.mean([mean for _, mean in curve[-4:]])), 2),
        "training": next(reversed(training), None),  # of the last 100 training episodes
        "final": summary.get("final"),
        "steps_per_second": summary.get("steps_per_second"),
        "wall_seconds": summary.get("wall_seconds"),
        "peak_memory_bytes": summary.get("peak_memory_bytes"),
        "machine": f"{start['gpu'] or start['cpu']}, {start['cpus']} cores, torch {start['packages']['torch']}",
    }


def thin(curve: list, points: int) -> list:
    """About `points` of a curve, the last one among them."""
    every = max(len(curve) // points, 1)
    return curve[::-1][::every][::-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = [read(path) for given in options.runs for path in find_runs(given)]
    print("| agent | env | seed | steps | final mean ± std (episodes) | mean of the last four | steps/s | peak MB | curve (step: mean) |")
    print("|---|---|---|---|---|---|---|---|---|")
    for run in runs:
        final = run["final"]
        ended = f"{final['mean']:.1f} ± {final['std']:.1f} ({final['episodes']})" if final else "unfinished"
        speed = f"{run['steps_per_second']:.0f}" if run["steps_per_second"] else ""
        memory = f"{run['peak_memory_bytes'] / 1e6:.0f}" if run["peak_memory_bytes"] else ""
        curve = "  ".join(f"{step // 1000}k: {mean:.1f}" for step, mean in thin(run["curve"], options.points))
        cells = (run["agent"], run["env"], run["seed"], f"{run['steps']:,}", ended, f"{run['last_four']:.1f}", speed, memory, curve)
        print("| " + " | ".join(map(str, cells)) + " |")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n")


if __name__ == "__main__":
    main()
