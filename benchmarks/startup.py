"""From the command to the first environment step, and on to the end of the first update: medians over fresh processes.

python -m benchmarks.startup [repetitions] [overrides]

An agent of the lab makes no updates: `python -m benchmarks.startup agent=lab/dtr env=lab/dtr` shows its first step alone.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHILD = """
import os, sys, time
from deeprl.running.training.collector import Collector
from deeprl.running.training.trainer import Trainer
start, tick, learn, first = float(os.environ["STARTED"]), Collector.tick, Trainer.learn, []
def step(self, number):
    if not first:
        first.append(time.time() - start)
    tick(self, number)
    first[1:] = [time.time()]
    if any(word.startswith("agent=lab/") for word in sys.argv):
        print(first[0], "nan", flush=True)
        os._exit(0)
def update(self, drawn):
    learn(self, drawn)
    print(first[0], time.time() - first[1], flush=True)
    os._exit(0)
Collector.tick, Trainer.learn = step, update
from deeprl.cli.train import main
main()
"""


def once(overrides: list[str]) -> tuple[float, float]:
    """Seconds to the first step; seconds of the first update."""
    folder = Path(tempfile.mkdtemp()) / "run"
    command = [sys.executable, "-c", CHILD, f"hydra.run.dir={folder}", *overrides]
    environment = {**os.environ, "STARTED": repr(time.time()), "PYTHONPATH": str(ROOT)}
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return float(said[-2]), float(said[-1])


def main() -> None:
    words = sys.argv[1:]
    repetitions = int(words.pop(0)) if words and words[0].isdigit() else 5
    overrides = words or ["replay.learning_starts=100"]
    once(overrides)  # files come from the disk once
    steps, updates = zip(*(once(overrides) for _ in range(repetitions)))
    print(f"first environment step after {statistics.median(steps):.2f} s ({min(steps):.2f} to {max(steps):.2f})")
    if math.isfinite(updates[0]):
        print(f"first update took {statistics.median(updates):.3f} s ({min(updates):.3f} to {max(updates):.3f})")


if __name__ == "__main__":
    main()
