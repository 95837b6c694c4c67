"""What saving and resuming cost with a large Atari replay: bytes and stall of each checkpoint, then time and memory of `deeprl resume`.

    python -m benchmarks.checkpoint_cost [--rows 1000000] [--every 100000] [--cold] [--json FILE] [overrides of train.py ...]

DQN plays Pong with one update in a thousand steps, so that the optimizer has its moments and the time goes into playing. The run is
killed by SIGKILL once its replay is full and saved. Resuming is timed from the start of the process to the line that says it goes on: it
loads the replay and repeats up to 20 episodes of each game. A million rows need 8 GB of disk and 8 GB of memory. `--cold` first drops the
run's files from the page cache, as after a reboot.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.kill_and_resume import resume, start, step_of
from deeprl.running.runs.folder import read_lines


def peak(pid: int) -> float:
    """GB: the largest resident size of a living process so far."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e9


def saved(folder: Path, every: int) -> list[dict[str, float]]:
    """One entry a checkpoint; a log line tells the cost of the last one before it."""
    found: dict[int, dict[str, float]] = {}
    for _, line in read_lines(folder / "metrics.jsonl"):
        step = (int(line["step"]) - 1) // every * every
        if step and "time/checkpoint_bytes" in line:
            found[step] = {"step": step, **{name: line[f"time/checkpoint_{name}"] for name in ("bytes", "seconds", "stall")}}
    return list(found.values())


def forget(folder: Path) -> None:
    """Drop its files from the page cache; they were flushed when they were written."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def wait(process: subprocess.Popen, output: Path, until) -> None:
    while not until():
        if process.poll() is not None:
            raise SystemExit(f"{output.read_text()[-3000:]}\nthe run ended with {process.returncode}")
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=None, help="steps between checkpoints; a tenth of the rows if left out")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    rows, every = options.rows, options.every or options.rows // 10
    last = -(-rows // every) * every  # the first checkpoint of a full replay
    words = (
        "agent=dqn", "env=atari/pong", "env.num=4", f"replay.capacity={rows}", f"steps={last + 10 * every}", "replay.learning_starts=1000",
        "replay.ratio=0.001", "evaluation.every=null", f"checkpoint.every={every}", f"log.every={max(every // 20, 1)}", "runtime.threads=1",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = Path(temporary) / "run", Path(temporary) / "output"
        process = start(folder, [*words, *options.overrides], output)
        try:
            began = time.monotonic()
            wait(process, output, lambda: step_of(folder) > last)
            played, training = time.monotonic() - began, peak(process.pid)
        finally:
            process.kill()
            process.wait()
        checkpoints = saved(folder, every)
        held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if options.cold:
            forget(folder)
        began = time.monotonic()
        process = resume(folder, again := Path(temporary) / "again")
        try:
            wait(process, again, lambda: "resumed from step" in again.read_text())
            seconds, resuming = time.monotonic() - began, peak(process.pid)
        finally:
            process.kill()
            process.wait()
    print(f"{rows:,} rows, a checkpoint every {every:,} steps; {last / played:,.0f} steps/s, peak memory {training:.2f} GB")
    print("    step        MB written    save, s   longest stall, s")
    for entry in checkpoints:
        print(f"{entry['step']:10,}  {entry['bytes'] / 1e6:14,.1f}  {entry['seconds']:9.2f}  {entry['stall']:17.2f}")
    cache = "files not in the page cache" if options.cold else "files still in the page cache"
    print(f"resume, {cache}: {seconds:.1f} s from start to training, peak memory {resuming:.2f} GB; run folder {held / 1e9:.2f} GB")
    if options.json:
        found = {
            "rows": rows,
            "every": every,
            "overrides": options.overrides,
            "checkpoints": checkpoints,
            "steps_per_second": last / played,
        }
        found |= {"peak_memory_gb": training, "folder_gb": held / 1e9}
        found["resume"] = {"seconds": seconds, "peak_memory_gb": resuming, "cold": options.cold}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
