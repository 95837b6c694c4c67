"""Runs killed by SIGKILL at random moments, resumed, finished, and compared with the same run left alone: weights, metrics and evaluations
bit for bit.

python -m benchmarks.faults --folder FOLDER [--kills 9] [--minutes 30] [--only atari] [--cells 2] [--table]

A cell is an agent, an environment, a replay and a way to run the environments (`benchmarks/fault_cells.py`). Some environments are those of
other packages, installed for this by `pip install minigrid highway-env gymnasium-robotics pettingzoo minari h5py "gymnasium[box2d]"`; cells
whose packages are missing are named and left out. Finished cells are lines of FOLDER/results.jsonl; called again, the campaign goes on with
those that are missing. Kills are of four kinds, in turn:

    training     once training has begun in the new process, after a random share of the time that the uninterrupted run took
    writing      the same, and then in the middle of the next checkpoint, on a disk whose flushes are slowed (benchmarks/slow_disk.py)
    resuming     at a random moment of the first seconds of the process
    evaluation   in the last evaluation

A sweep of two jobs is killed alone, or with its jobs, and continued by `deeprl sweep resume`; its first job says when.
The exit code counts cells that differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.fault_cells import CELLS, JOBS, Cell
from benchmarks.kill_and_resume import PROGRAM, differences, launch, resume, start
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder

SLOW = ("-m", "benchmarks.slow_disk")
KINDS = ("training", "writing", "resuming", "training", "writing", "evaluation")


def starts(run: Path) -> int:
    """How often training has begun there."""
    try:
        return len(json.loads((run / "system.json").read_text()))
    except (OSError, ValueError):
        return 0


def half_written(run: Path) -> set[int]:
    """Checkpoints and replay segments that are, by inode. What a kill left there stays until the next checkpoint is whole."""
    found = set()
    for folder in ("checkpoints", "replay"):
        for path in (run / folder).glob(".*.partial"):
            with contextlib.suppress(FileNotFoundError):
                found.add(path.stat().st_ino)
    return found


def family(pid: int) -> list[int]:
    """A process and all that it has started, as Linux lists them."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread, or the process, has ended
            children += map(int, task.read_text().split())
    return [pid, *(each for child in children for each in family(child))]


def alive(pid: int) -> bool:
    """Whether a process has not ended. One that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(process: subprocess.Popen, run: Path, before: int, delay: float, kind: str, whole: bool) -> dict | None:
    """SIGKILL at a moment of one of `KINDS`, after `delay` seconds. None if the process had ended before.

    Args:
        whole: to the process and all that it started.
    """

    def until(reached: Callable[[], object]) -> None:
        while not reached() and process.poll() is None:
            time.sleep(0.001)

    left = half_written(run)
    if kind != "resuming":
        until(lambda: starts(run) > before)
    deadline = time.monotonic() + delay
    until(lambda: time.monotonic() > deadline)
    if kind == "writing":
        until(lambda: half_written(run) - left)
    elif kind == "evaluation":
        until(lambda: last_step(run) == (RunFolder(run).read_config()["steps"]))
    if process.poll() is not None:
        return None
    started = family(process.pid)
    for number in started if whole else [process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()
    while run.name in JOBS and any(map(alive, started)):  # jobs stop saved when their sweep ends, and hold their folders until then
        time.sleep(0.01)
    status = RunFolder(run).read_status() or {}
    return {"saved": status.get("step", 0), "kind": kind, "inside": bool(half_written(run) - left)}


def last_step(run: Path) -> int | None:
    """Of the newest checkpoint."""
    return Checkpoints(run).pointed("last")


def begun(cell: Cell, folder: Path, overrides: list[str], output: Path) -> subprocess.Popen:
    if cell.launch == "sweep":
        return launch([*PROGRAM, "sweep", *overrides, "seed=0,1", f"--jobs={len(JOBS)}", f"--dir={folder}"], output)
    return start(folder, overrides, output, cell.program)


def resumed(cell: Cell, folder: Path, output: Path, slow: bool) -> subprocess.Popen:
    """
    Args:
        slow: on a disk whose flushes are slowed.
    """
    if cell.launch == "sweep":
        return launch([*PROGRAM, "sweep", "resume", str(folder)], output)
    return resume(folder, output, cell.allow, SLOW if slow else cell.program)


def from_run(cell: Cell, source: Path) -> str:
    """What makes a cell start from a run, or learn from its transitions."""
    if not cell.replay.startswith(("stored", "mixed")):
        return f"init_from='{source}'"  # quoted, because names of cells hold an equals sign
    if cell.replay == "stored":
        sets = source.with_suffix(".sets")
        shutil.rmtree(sets, ignore_errors=True)
        words = [sys.executable, *PROGRAM, "data", "convert", str(source), "own/played-v0"]
        subprocess.run(words, env={**os.environ, "MINARI_DATASETS_PATH": str(sets)}, check=True, capture_output=True)
        source = sets / "own" / "played-v0"
    return f"replay.data='{source}'"


def measure(cell: Cell, folder: Path, kills: int, dice: random.Random) -> dict:
    """Run a cell twice; returns its line of results."""
    began = time.monotonic()
    whole, killed, output = (folder / f"{cell.name}.{kind}" for kind in ("whole", "killed", "log"))
    for old in (whole, killed):
        shutil.rmtree(old, ignore_errors=True)
    result = {**cell._asdict(), "kills": [], "differences": []}
    if cell.starts_from:
        source = folder / f"{cell.name}.source"
        shutil.rmtree(source, ignore_errors=True)
        if start(source, list(cell.starts_from), output).wait() != 0:
            return {**result, "differences": ["the run that it starts from failed"]}
    overrides = [*cell.overrides, *([from_run(cell, source)] if cell.starts_from else [])]
    if begun(cell, whole, overrides, output).wait() != 0:
        return {**result, "differences": ["the uninterrupted run failed"]}
    first = killed / cell.jobs[0]
    seconds = (RunFolder(whole / cell.jobs[0]).read_summary() or {})["wall_seconds"]
    process = begun(cell, killed, overrides, output)
    for number in range(kills):
        kind = KINDS[number % len(KINDS)]
        longest = {"resuming": 3.0, "evaluation": 0.2}.get(kind, 1.2 * seconds / kills)
        together = dice.random() < 0.5 or cell.launch in ("ranks", "ray")
        done = kill(process, first, starts(first) if number else 0, dice.uniform(0, longest), kind, together)
        while done is None and not result["kills"] and process.wait() == 0:  # a run that ended before its first kill shows nothing
            shutil.rmtree(killed)
            process = begun(cell, killed, overrides, output)
            done = kill(process, first, 0, dice.uniform(0, longest), kind, together)
        if done is None:
            break
        result["kills"].append(done)
        slow = KINDS[(number + 1) % len(KINDS)] == "writing" and not cell.launch
        process = resumed(cell, killed, output, slow)
    if process.wait() != 0:
        return {**result, "differences": [f"the resumed run ended with {process.returncode}, see {output}"]}
    result["differences"] = [found for job in cell.jobs for found in differences(whole / job, killed / job)]
    if not result["differences"]:
        for path in (whole, killed):
            shutil.rmtree(path)
        output.unlink()
    return {**result, "seconds": round(time.monotonic() - began)}


def table(results: list[dict]) -> str:
    rows = [
        "| agent | environment | replay | environments run by | kills | inside checkpoint writing | result |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in results:
        inside = sum(kill["inside"] for kill in line["kills"])
        verdict = ", ".join(line["differences"]) or "equal bit for bit"
        rows.append(
            f"| {line['agent']} | {line['env']} | {line['replay']} | {' by '.join(filter(None, (line['vector'], line.get('launch'))))} "
            f"| {len(line['kills'])} | {inside} | {verdict} |"
        )
    kills = [kill for line in results for kill in line["kills"]]
    equal = sum(not line["differences"] for line in results)
    rows.append(f"| all | | | | {len(kills)} | {sum(kill['inside'] for kill in kills)} | {equal} of {len(results)} equal |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--minutes", type=float, default=None, help="begin no cell after so many")
    parser.add_argument("--only", default="", help="cells whose name has this in it")
    parser.add_argument("--cells", type=int, default=None, help="at most so many")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; by default the clock")
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "results.jsonl"
    results = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {Cell.of(line).name for line in results}
    began = time.monotonic()
    wanted = [] if options.table else [cell for cell in CELLS if options.only in cell.name and cell.name not in done]
    for cell in (cell for cell in wanted if (lacking := cell.lacking)):
        print(f"{cell.name}: left out, because {', '.join(lacking)} is not installed", flush=True)
    for cell in [cell for cell in wanted if not cell.lacking][: options.cells]:
        if options.minutes is not None and time.monotonic() - began > 60 * options.minutes:
            break
        results.append(measure(cell, options.folder.resolve(), options.kills, random.Random(options.seed)))
        with open(path, "a") as file:
            file.write(json.dumps(results[-1]) + "\n")
        print(f"{cell.name}: {len(results[-1]['kills'])} kills, {results[-1]['differences'] or 'equal'}", flush=True)
    print(table(results))
    return sum(bool(line["differences"]) for line in results)


if __name__ == "__main__":
    sys.exit(main())
