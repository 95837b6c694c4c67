"""Runs killed by SIGKILL at random moments, resumed, finished, and compared with the same run left alone: weights, metrics and evaluations
bit for bit.

python -m benchmarks.faults --folder FOLDER [--kills 9] [--minutes 30] [--only atari] [--cells 2] [--table]

A cell is an agent, an environment, a replay and a way to run the environments. Some environments are those of other packages: MiniGrid,
highway-env and Box2D, installed for this by `pip install minigrid highway-env "gymnasium[box2d]"`. Finished cells are lines of
FOLDER/results.jsonl; called again, the campaign goes on with those that are missing. Kills are of four kinds, in turn:

    training     once training has begun in the new process, after a random share of the time that the uninterrupted run took
    writing      the same, and then in the middle of the next checkpoint, on a disk whose flushes are slowed (benchmarks/slow_disk.py)
    resuming     at a random moment of the first seconds of the process
    evaluation   in the last evaluation

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
from typing import NamedTuple

from benchmarks.kill_and_resume import PROGRAM, differences, resume, start
from deeprl.runs.checkpoints import Checkpoints
from deeprl.runs.folder import RunFolder

COMMON = ("log.every=0.02", "evaluation.every=0.25", "evaluation.episodes=2", "evaluation.final_episodes=6", "checkpoint.every=0.05")
SLOW = ("-m", "benchmarks.slow_disk")
KINDS = ("training", "writing", "resuming", "training", "writing", "evaluation")
FAMILIES = {
    "classic": ("env.num=2", "steps=6000", "learning_starts=500", "replay.capacity=3000", "replay_ratio=0.25"),
    "minatar": ("env.num=2", "steps=5000", "learning_starts=500", "replay.capacity=3000", "replay_ratio=0.1"),
    "mujoco": ("env.num=2", "steps=4000", "learning_starts=500", "replay.capacity=2500", "replay_ratio=0.25", "replay.batch_size=64"),
    "atari": (
        "env.num=2", "steps=1600", "learning_starts=400", "replay.capacity=1000", "replay_ratio=0.05",
        "env.protocol.max_episode_steps=300",
    ),
    "box2d": ("env.num=2", "steps=5000", "learning_starts=500", "replay.capacity=3000", "replay_ratio=0.25", "evaluation.num=2"),
    "minigrid": ("env.num=2", "steps=4000", "learning_starts=500", "replay.capacity=2500", "replay_ratio=0.25", "agent.torso.hidden=[64]"),
    "highway": ("env.num=2", "steps=1200", "learning_starts=200", "replay.capacity=1000", "replay_ratio=0.25", "agent.torso.hidden=[64]"),
}  # fmt: skip
ROLLOUTS = {
    "classic": ("env.num=4", "steps=12000", "replay.length=32"),
    "minatar": ("env.num=8", "steps=12000", "replay.length=32", "replay.epochs=2", "replay.minibatches=4"),
    "mujoco": ("env.num=4", "steps=16000", "replay.length=64", "replay.epochs=2", "replay.minibatches=4"),
    "atari": ("env.num=4", "steps=3200", "replay.length=16", "replay.epochs=1", "env.protocol.max_episode_steps=300"),
}
"""The same for agents that learn from rollouts, which refuse the sizes of a memory."""
SMALL = ("agent.torso.hidden=[64]", "agent.actor_torso.hidden=[64]")
OPTIONS = {
    "sac": SMALL,
    "isac": (*SMALL, "agent.resets.period=200", "agent/normalize=running"),
    "redq": SMALL,
    "crossq": (*SMALL, "agent.torso.settle=200"),
    "aro_ddpg": (*SMALL, "discount=1"),
    "rvi_sac": (*SMALL, "discount=1", "agent.rate.hidden=[64]", "runtime.lag=1"),
    "droq": (*SMALL, "replay_ratio=0.25"),
    "flash_sac": tuple(f"agent.{torso}.{key}" for torso in ("torso", "actor_torso") for key in ("width=16", "blocks=1")),
}
"""Of agents, so that their cells hold every kind of state: temperature, chain, resets, running statistics, subset noise, average reward,
actions that are chosen a step ahead, masks of dropout, noise that lasts, scaled rewards."""
FOREIGN = {
    "minigrid/empty": ("MiniGrid-Empty-5x5-v0", "minigrid", "minigrid.wrappers.FlatObsWrapper"),
    "minigrid/dynamic": ("MiniGrid-Dynamic-Obstacles-5x5-v0", "minigrid", "minigrid.wrappers.FlatObsWrapper"),
    "minigrid/doorkey": ("MiniGrid-DoorKey-5x5-v0", "minigrid", "minigrid.wrappers.FlatObsWrapper"),
    "highway/highway": ("highway-fast-v0", "highway_env", "gymnasium.wrappers.FlattenObservation"),
}
"""Environments without a configuration of ours: id, package, wrapper."""


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
        env = [f"env={self.env}"]
        if self.env in FOREIGN:
            name, package, wrapper = FOREIGN[self.env]
            env = ["env=gym", f"env.id={name}", f"env.package={package}", f"env.wrappers=[{wrapper}]"]
        words = [f"agent={self.agent}", *env, f"replay={self.replay}", f"env.vector={self.vector}", "runtime.threads=1"]
        families = ROLLOUTS if self.replay == "rollout" else FAMILIES
        return [*words, *COMMON, *families[self.env.split("/")[0]], *OPTIONS.get(self.agent, ())]

    @property
    def allow(self) -> tuple[str, ...]:
        """Packages that its configuration names."""
        return (FOREIGN[self.env][1], "gymnasium") if self.env in FOREIGN else ()


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
    Cell("dqn", "minigrid/empty", "uniform", "sync"),
    Cell("idqn", "minigrid/dynamic", "prioritized", "async"),
    Cell("retrace_dqn", "minigrid/doorkey", "sequences", "sync"),
    Cell("dqn", "highway/highway", "prioritized", "sync"),
    Cell("munchausen_dqn", "highway/highway", "uniform", "async"),
    Cell("dqn", "box2d/lunar_lander", "uniform", "async"),
    Cell("rbis_dqn", "box2d/lunar_lander", "sequences", "sync"),
    Cell("td3", "box2d/bipedal_walker", "prioritized", "sync"),
    Cell("td3", "box2d/lunar_lander_continuous", "uniform", "async"),
    Cell("sac", "classic/pendulum", "uniform", "sync"),
    Cell("sac", "mujoco/half_cheetah", "prioritized", "async"),
    Cell("isac", "classic/pendulum", "prioritized", "async"),
    Cell("isac", "mujoco/hopper", "uniform", "sync"),
    Cell("redq", "classic/pendulum", "uniform", "async"),
    Cell("redq", "mujoco/hopper", "prioritized", "sync"),
    Cell("crossq", "classic/pendulum", "uniform", "sync"),
    Cell("crossq", "mujoco/half_cheetah", "prioritized", "async"),
    Cell("aro_ddpg", "classic/pendulum", "uniform", "sync"),
    Cell("aro_ddpg", "mujoco/half_cheetah", "uniform", "async"),
    Cell("rvi_sac", "classic/pendulum", "uniform", "async"),
    Cell("rvi_sac", "mujoco/hopper", "prioritized", "sync"),
    Cell("droq", "classic/pendulum", "prioritized", "sync"),
    Cell("droq", "mujoco/half_cheetah", "uniform", "async"),
    Cell("pqn", "classic/cartpole", "rollout", "sync"),
    Cell("pqn", "minatar/breakout", "rollout", "async"),
    Cell("pqn", "atari/pong", "rollout", "ale"),
    Cell("ppo", "classic/cartpole", "rollout", "async"),
    Cell("ppo", "mujoco/hopper", "rollout", "sync"),
    Cell("ppo", "atari/breakout", "rollout", "ale"),
    Cell("a2c", "classic/acrobot", "rollout", "sync"),
    Cell("a2c", "mujoco/half_cheetah", "rollout", "async"),
    Cell("flash_sac", "classic/pendulum", "uniform", "async"),
    Cell("flash_sac", "mujoco/hopper", "prioritized", "sync"),
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


def kill(process: subprocess.Popen, run: Path, before: int, delay: float, kind: str) -> dict | None:
    """SIGKILL at a moment of one of `KINDS`, after `delay` seconds. None if the process had ended before."""

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
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    status = RunFolder(run).read_status() or {}
    return {"saved": status.get("step", 0), "kind": kind, "inside": bool(half_written(run) - left)}


def last_step(run: Path) -> int | None:
    """Of the newest checkpoint."""
    return Checkpoints(run).pointed("last")


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
        kind = KINDS[number % len(KINDS)]
        longest = {"resuming": 3.0, "evaluation": 0.2}.get(kind, 1.2 * seconds / kills)
        done = kill(process, killed, starts(killed) if number else 0, dice.uniform(0, longest), kind)
        if done is None:
            break
        result["kills"].append(done)
        slow = KINDS[(number + 1) % len(KINDS)] == "writing"
        process = resume(killed, output, cell.allow, SLOW if slow else PROGRAM)
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
