"""Runs of this checkout against the same runs of another one: weights and evaluations bit for bit, and a run of the other one, killed half
way, that this one continues.

    python -m benchmarks.unchanged BEFORE --folder FOLDER [--only td3 ppo] [--steps 20000]

BEFORE is a checkout of an earlier commit. Both train with this interpreter, one thread and `accelerate=fast`. Runs that these commits have
finished in FOLDER are not trained again. Optimizers are compared by what the run that goes on makes of them.
The exit code counts runs that differ.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.kill_and_resume import PROGRAM, ROOT, lines, resume, step_of
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.system.machine import commit

RUNS = {
    "default": (),
    "td3": ("agent=td3", "env=mujoco/half_cheetah"),
    "sac": ("agent=sac", "env=mujoco/half_cheetah"),
    "ppo": ("agent=ppo", "env=mujoco/half_cheetah"),
    "iiqn": ("agent=iiqn", "env=minatar/breakout"),
    "lab": ("agent=lab/dtr", "env=lab/dtr"),
}


def train(checkout: Path, folder: Path, words: tuple[str, ...], steps: int) -> subprocess.Popen:
    """A run of a checkout, whose own packages come first."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = (
        f"steps={steps}",
        f"evaluation.every={steps // 2}",
        f"checkpoint.every={steps // 4}",
        "runtime.threads=1",
        "accelerate=fast",
    )
    command = [sys.executable, *PROGRAM, "train", f"hydra.run.dir={folder}", *words, *settings]
    with open(f"{folder}.log", "w") as log:
        return subprocess.Popen(command, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, stdout=log, stderr=log)


def whole(folder: Path, checkout: Path, steps: int) -> bool:
    """Whether a run of the commit that is checked out there has finished with this many steps."""
    try:
        made = json.loads((folder / "system.json").read_text())[-1]["git"]["commit"]
        return json.loads((folder / "summary.json").read_text())["steps"] == steps and made == (commit(checkout) or {}).get("commit")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def finished(checkout: Path, folder: Path, words: tuple[str, ...], steps: int) -> None:
    if not whole(folder, checkout, steps) and train(checkout, folder, words, steps).wait() != 0:
        raise SystemExit(f"{folder.name} of {checkout} failed: see {folder}.log")


def half(checkout: Path, folder: Path, words: tuple[str, ...], steps: int) -> None:
    """A run killed by SIGKILL after half of its steps and after a checkpoint."""
    process = train(checkout, folder, words, steps)
    while process.poll() is None and not ((Checkpoints(folder).pointed("last") or 0) >= steps // 4 and step_of(folder) >= steps // 2):
        time.sleep(0.02)
    if process.poll() is not None:
        raise SystemExit(f"{folder.name} of {checkout} ended before it could be killed")
    process.kill()
    process.wait()


def differences(before: Path, now: Path) -> list[str]:
    """What differs: parameters that both have under one name, parameters of one alone, and evaluations."""
    left, right = (Checkpoints(folder).load("last", only={"agent"})[1]["agent"]["module"] for folder in (before, now))
    found = [f"weights {name}" for name in left.keys() & right.keys() if not torch.equal(left[name], right[name])]
    found += [f"weights {name} of one alone" for name in left.keys() ^ right.keys()]
    means = [[(line["step"], line["returns"]) for line in lines(folder, "evaluations.jsonl")] for folder in (before, now)]
    return found + (["evaluations"] if means[0] != means[1] or not means[0] else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--steps", type=int, default=20000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for name in options.only:
        before, now, continued = (options.folder / f"{name}_{what}" for what in ("before", "now", "continued"))
        finished(options.before.resolve(), before, RUNS[name], options.steps)
        finished(ROOT, now, RUNS[name], options.steps)
        if not whole(continued, ROOT, options.steps):
            half(options.before.resolve(), continued, RUNS[name], options.steps)
            killed_at = Checkpoints(continued).pointed("last")
            if resume(continued, Path(f"{continued}.log")).wait() != 0:
                raise SystemExit(f"this checkout does not continue {continued}, killed after its checkpoint of {killed_at:,}")
        for what, folder in (("trained", now), ("continued", continued)):
            found = differences(before, folder)
            wrong += bool(found)
            print(f"{name}, {what}: " + (", ".join(found) or f"{options.steps:,} steps equal bit for bit"), flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
