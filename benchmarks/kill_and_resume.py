"""One run killed by SIGKILL in the middle and resumed, against the same run left alone: weights, metrics and evaluations bit for bit.

python -m benchmarks.kill_and_resume [--kills 1] [overrides of train.py ...]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder, read_lines

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ("-m", "deeprl.cli.main")


def start(folder: Path, overrides: list[str], output: Path | None = None, program: tuple[str, ...] = PROGRAM) -> subprocess.Popen:
    """
    Args:
        output: a file that takes what the run prints.
        program: arguments of Python that stand for the console script.
    """
    return launch([*program, "train", f"hydra.run.dir={folder}", *overrides], output)


def resume(folder: Path, output: Path | None = None, allow: tuple[str, ...] = (), program: tuple[str, ...] = PROGRAM) -> subprocess.Popen:
    """
    Args:
        allow: packages that the run's configuration may name.
    """
    return launch([*program, "resume", str(folder), *(word for name in allow for word in ("--allow-package", name))], output)


def launch(words: list[str], output: Path | None) -> subprocess.Popen:
    with open(output or os.devnull, "a") as file:
        return subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=file, stderr=file)


def step_of(folder: Path) -> int:
    """The last step that the run has written down."""
    try:
        return max((line["step"] for _, line in read_lines(folder / "metrics.jsonl")), default=0)
    except OSError:
        return 0


def lines(folder: Path, name: str) -> list[dict]:
    """Without clock times."""
    return [{k: v for k, v in line.items() if k != "time" and not k.startswith("time/")} for _, line in read_lines(folder / name)]


def differences(one: Path, other: Path) -> list[str]:
    found = []
    (step, left), (_, right) = Checkpoints(one).load("last", only={"agent"}), Checkpoints(other).load("last", only={"agent"})
    for name, value in left["agent"]["module"].items():
        if not torch.equal(value, right["agent"]["module"][name]):
            found.append(f"weights {name} at step {step}")
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        if lines(one, name) != lines(other, name):
            found.append(name)
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        if start(whole, options.overrides).wait() != 0:
            raise SystemExit("the uninterrupted run failed")
        total = RunFolder(whole).read_config()["steps"]
        process = start(killed, options.overrides)
        for kill in range(1, options.kills + 1):
            target = total * kill // (options.kills + 1)
            while step_of(killed) < target and process.poll() is None:
                time.sleep(0.05)
            if process.poll() is not None:
                raise SystemExit("the run ended before it could be killed: use more steps")
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            print(f"killed after step {step_of(killed):,}; its last checkpoint is of step {(Checkpoints(killed).pointed('last') or 0):,}")
            process = resume(killed)
        if process.wait() != 0:
            raise SystemExit("the resumed run failed")
        found = differences(whole, killed)
        evaluation = json.loads((whole / "summary.json").read_text())["final"]["mean"]
        print(
            f"final evaluation {evaluation}: "
            + (f"DIFFERENT: {', '.join(found)}" if found else "weights, metrics and evaluations equal bit for bit")
        )
        return len(found)


if __name__ == "__main__":
    sys.exit(main())
