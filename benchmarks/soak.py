"""A long run watched from outside: do its memory, its open files or its threads grow?

    python -m benchmarks.soak [--minutes 30] [--folder F] [--json FILE] [overrides of train.py ...]

By default DQN with prioritised replay on MinAtar Breakout, with evaluations, videos and checkpoints about once a minute. /proc is read
every 5 seconds, the first third is left out (the replay fills, libraries are loaded), and the run is stopped by SIGTERM.

Samples that follow one another are alike, so that a least-squares fit of all of them would claim too small an error. The line is
therefore fitted to the means of ten blocks of equal length, and the standard error of its slope is that of this fit, with eight degrees
of freedom.
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

import numpy as np

from benchmarks.kill_and_resume import lines, start, step_of

DEFAULT = (
    "agent=dqn", "env=minatar/breakout", "replay=prioritized", "replay.capacity=20000", "steps=1000000000", "replay.learning_starts=1000",
    "agent.explore.schedule.duration=20000", "log.every=2000", "evaluation.every=30000", "evaluation.video=true", "checkpoint.every=null",
    "checkpoint.minutes=0.75", "runtime.threads=1",
)  # fmt: skip
EVERY = 5.0
BLOCKS = 10
STOPPED = 75
KINDS = {"memory_mb": "resident memory, MB", "files": "open file descriptors", "threads": "threads"}


def look(pid: int) -> dict[str, float]:
    """Raises OSError if there is no such process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    if "VmRSS" not in status:
        raise ProcessLookupError(f"process {pid} has ended")
    return {
        "memory_mb": int(status["VmRSS"].split()[0]) * 1024 / 1e6,
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
    }


def slope(times: np.ndarray, values: np.ndarray, blocks: int = BLOCKS) -> tuple[float, float]:
    """Slope of the line through block means, per unit of time, and its standard error; NaN if there are fewer than three blocks."""
    blocks = min(blocks, len(times))
    if blocks < 3:
        return float("nan"), float("nan")
    t, v = (np.array([part.mean() for part in np.array_split(x, blocks)]) for x in (times, values))
    t, v = t - t.mean(), v - v.mean()
    rate = t @ v / (t @ t)
    residual = v - rate * t
    return float(rate), float(np.sqrt(residual @ residual / (blocks - 2) / (t @ t)))


def watch(process: subprocess.Popen, folder: Path, seconds: float) -> tuple[list[dict[str, float]], set[str]]:
    """Samples, and the names of all checkpoints that were seen."""
    began, samples, checkpoints = time.monotonic(), [], set()
    while (now := time.monotonic() - began) < seconds and process.poll() is None:
        try:
            samples.append({"seconds": now, "step": step_of(folder), **look(process.pid)})
        except OSError:
            break
        checkpoints |= {path.name for path in folder.glob("checkpoints/step_*")}
        time.sleep(EVERY)
    return samples, checkpoints


def report(samples: list[dict[str, float]], seconds: float) -> dict[str, dict[str, float]]:
    kept = [sample for sample in samples if sample["seconds"] >= seconds / 3]
    hours = np.array([sample["seconds"] / 3600 for sample in kept])
    found = {}
    for kind in KINDS:
        values = np.array([sample[kind] for sample in kept])
        rate, error = slope(hours, values)
        ends = {"first": values[0], "last": values[-1], "low": values.min(), "high": values.max()}
        found[kind] = {"per_hour": rate, "error": error, **{name: float(value) for name, value in ends.items()}}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, default=None, help="the run folder; a temporary one if left out")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = options.folder or Path(temporary) / "run", Path(temporary) / "output"
        process = start(folder.resolve(), [*DEFAULT, *options.overrides], output)
        try:
            samples, checkpoints = watch(process, folder, 60 * options.minutes)
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=300)
        finally:
            process.kill()
        if code != STOPPED or not samples:
            print(output.read_text()[-3000:])
            print(f"exit code {code}, not {STOPPED}")
            return 1
        checkpoints |= {path.name for path in folder.glob("checkpoints/step_*")}
        made = {
            "steps": int(samples[-1]["step"]),
            "checkpoints": len(checkpoints),
            "evaluations": len(lines(folder, "evaluations.jsonl")),
            "videos": len(list(folder.glob("videos/*.mp4"))),
        }
        said = [line for line in output.read_text().splitlines() if "no video" in line or "arning" in line]
    found = report(samples, 60 * options.minutes)
    print(f"{options.minutes:g} minutes, exit code {code}: " + ", ".join(f"{number:,} {name}" for name, number in made.items()))
    print(f"the last two thirds, slope ± standard error of a line through {BLOCKS} block means:")
    for kind, name in KINDS.items():
        row = found[kind]
        print(
            f"  {name:22}  {row['per_hour']:+9.2f} ± {row['error']:.2f} an hour   first {row['first']:.2f}, last {row['last']:.2f}, "
            f"between {row['low']:.2f} and {row['high']:.2f}"
        )
    for line in said:
        print(f"  the run said: {line}")
    if options.json:
        summary = {"minutes": options.minutes, "overrides": options.overrides, "exit_code": code, "made": made, "slopes": found}
        options.json.write_text(json.dumps({**summary, "samples": samples}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
