"""Runs killed by SIGKILL at random moments, half of them while a checkpoint is written, resumed, finished and compared with the same run
left alone: weights, metrics and evaluations bit for bit.

python -m benchmarks.faults --folder FOLDER [--kills 9] [--minutes 30] [--only atari] [--cells 2] [--table]

A cell is an agent, an environment, a replay and a way to run the environments. Finished cells are lines of FOLDER/results.jsonl; called
again, the campaign goes on with those that are missing. Each kill waits until training has begun in the new process, then a random share
of the time that the uninterrupted run took, and then, for every second one, for the next checkpoint to be in the middle of its writing.
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
from pathlib import Path
from typing import NamedTuple

from benchmarks.kill_and_resume import differences, resume, start
from deeprl.runs.folder import RunFolder

COMMON = ("log.every=0.02", "evaluation.every=0.25", "evaluation.episodes=2", "evaluation.final_episodes=2", "checkpoint.every=0.05")
FAMILIES = {
    "classic": ("env.num=2", "steps=6000", "learning_starts=500", "replay.capacity=3000", "replay_ratio=0.25"),
    "minatar": ("env.num=2", "steps=5000", "learning_starts=500", "replay.capacity=3000", "replay_ratio=0.1"),
    "mujoco": ("env.num=2", "steps=4000", "learning_starts=500", "replay.capacity=2500", "replay_ratio=0.25", "replay.batch_size=64"),
    "atari": (
        "env.num=2", "steps=1600", "learning_starts=400", "replay.capacity=1000", "replay_ratio=0.05",
        "env.protocol.max_episode_steps=300",
    ),
}  # fmt: skip


class Cell(NamedTuple):
    agent: str
    env: str
    replay: str
    vector: str

    @property
    def name(self) -> str:
        return "-".join(self).replace("/", "_")

    @property
    def overrides(self) -> list[str]:
        words = [f"agent={self.agent}", f"env={self.env}", f"replay={self.replay}", f"env.vector={self.vector}", "runtime.threads=1"]
        return [*words, *COMMON, *FAMILIES[self.env.split("/")[0]]]


CELLS = [
    Cell("dqn", "classic/cartpole", "uniform", "sync"),
    Cell("idqn", "classic/cartpole", "prioritized", "async"),
    Cell("noisy_dqn", "classic/cartpole", "prioritized", "sync"),
    Cell("double_dqn", "classic/acrobot", "uniform", "async"),
    Cell("dueling_dqn", "classic/mountain_car", "prioritized", "sync"),
    Cell("td3", "classic/pendulum", "uniform", "sync"),
    Cell("ddpg", "classic/pendulum", "prioritized", "async"),
    Cell("td3_paper", "classic/pendulum", "uniform", "async"),
    Cell("dqn", "minatar/breakout", "uniform", "sync"),
    Cell("dqn", "minatar/asterix", "prioritized", "async"),
    Cell("idqn", "minatar/breakout", "prioritized", "sync"),
    Cell("idqn", "minatar/seaquest", "uniform", "async"),
    Cell("double_dqn", "minatar/freeway", "uniform", "async"),
    Cell("noisy_dqn", "minatar/space_invaders", "prioritized", "sync"),
    Cell("td3", "mujoco/hopper", "uniform", "sync"),
    Cell("td3", "mujoco/half_cheetah", "prioritized", "async"),
    Cell("td3_paper", "mujoco/hopper", "uniform", "async"),
    Cell("td3_paper", "mujoco/walker2d", "prioritized", "sync"),
    Cell("ddpg", "mujoco/half_cheetah", "uniform", "sync"),
    Cell("ddpg", "mujoco/hopper", "prioritized", "async"),
    Cell("dqn", "atari/pong", "uniform", "sync"),
    Cell("dqn", "atari/breakout", "prioritized", "ale"),
    Cell("idqn", "atari/pong", "prioritized", "async"),
    Cell("idqn", "atari/space_invaders", "uniform", "ale"),
    Cell("double_dqn", "atari/breakout", "uniform", "async"),
    Cell("noisy_dqn", "atari/pong", "prioritized", "sync"),
    Cell("retrace_dqn", "minatar/breakout", "sequences", "async"),
    Cell("munchausen_iqn", "minatar/breakout", "uniform", "sync"),
    Cell("dvw", "classic/cartpole", "prioritized", "sync"),
]


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


def kill(process: subprocess.Popen, run: Path, before: int, delay: float, inside: bool) -> dict | None:
    """SIGKILL after `delay` seconds of training and, if `inside`, in the middle of the next checkpoint. None if it had ended before."""
    while starts(run) == before and process.poll() is None:
        time.sleep(0.01)
    left = half_written(run)
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    while inside and not half_written(run) - left and process.poll() is None:
        time.sleep(0.0005)
    if process.poll() is not None:
        return None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    status = RunFolder(run).read_status() or {}
    return {"saved": status.get("step", 0), "inside": bool(half_written(run) - left)}


def measure(cell: Cell, folder: Path, kills: int, dice: random.Random) -> dict:
    """Run a cell twice; returns its line of results."""
    began = time.monotonic()
    whole, killed, output = (folder / f"{cell.name}.{kind}" for kind in ("whole", "killed", "log"))
    for old in (whole, killed):
        shutil.rmtree(old, ignore_errors=True)
    result = {**cell._asdict(), "kills": [], "differences": []}
    if start(whole, cell.overrides, output).wait() != 0:
        return {**result, "differences": ["the uninterrupted run failed"]}
    seconds = (RunFolder(whole).read_summary() or {})["wall_seconds"]
    process = start(killed, cell.overrides, output)
    for number in range(kills):
        done = kill(process, killed, starts(killed) if number else 0, dice.uniform(0, 1.2 * seconds / kills), number % 2 == 1)
        if done is None:
            break
        result["kills"].append(done)
        process = resume(killed, output)
    if process.wait() != 0:
        return {**result, "differences": [f"the resumed run ended with {process.returncode}, see {output}"]}
    result["differences"] = differences(whole, killed)
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
            f"| {line['agent']} | {line['env']} | {line['replay']} | {line['vector']} | {len(line['kills'])} | {inside} | {verdict} |"
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
    done = {Cell(*(line[field] for field in Cell._fields)) for line in results}
    began = time.monotonic()
    for cell in [] if options.table else [cell for cell in CELLS if options.only in cell.name and cell not in done][: options.cells]:
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
