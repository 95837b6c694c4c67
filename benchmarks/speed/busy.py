"""Training loops beside other work: default threads, and 0, 1, 2, 4, 8 other processes that never rest.

    python -m benchmarks.speed.busy                                      three loops, Stable-Baselines3's and SBX's beside them
    python -m benchmarks.speed.busy td3 --before ../before               another checkout of deeprl, with gate.py of this one
    python -m benchmarks.speed.busy td3 --alone --with GOMP_SPINCOUNT=1000 --with OMP_WAIT_POLICY=passive runtime.threads=1
    python -m benchmarks.speed.busy --table                              the stored rows

Every contestant warms up on its own; then all take slices of some seconds in turn, at each number of busy processes, while the others wait
for their turn. A rate is the median over slices. Busy processes run `while True: pass` on all cores that this process has.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.speed.__main__ import ROOT, Racer
from benchmarks.speed.cases import CARTPOLE, Contestant
from deeprl.system.machine import system_entry

FILE = ROOT / "benchmarks/results/busy.json"
TASKS = {  # overrides of ours, task of the peers, what they are
    "td3": ("agent=td3 env=classic/pendulum", "td3_pendulum", "TD3 on Pendulum, two layers of 256, batch 256, an update every step"),
    "sac": ("agent=sac env=mujoco/half_cheetah", "sac", "SAC on HalfCheetah-v5, two layers of 256, batch 256, an update every step"),
    "dqn": (f"{CARTPOLE} replay.ratio=0.1", "cartpole", "DQN on CartPole, layers of 120 and 84, batch 128, an update every 10 steps"),
}
COMMON = "replay.learning_starts=1000 steps=10000000 evaluation.every=null checkpoint.every=null accelerate=fast"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def started(name: str, command: tuple[str, ...], root: Path, given: dict[str, str]) -> Racer:
    """A contestant that is warm. Its threads are the defaults of its library, whatever this shell has set."""
    environment = {key: value for key, value in os.environ.items() if key not in (*THREADS, *SPINNING)}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root), **given}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=root, env=environment, **pipes)  # type: ignore[call-overload]
    racer = Racer(Contestant(name, command), process)
    if racer.answer() is None:
        raise SystemExit(f"{name} did not start: {' '.join(command)}")
    return racer


def contestants(task: str, options: argparse.Namespace) -> Iterator[Racer]:
    overrides, of_peers, _ = TASKS[task]
    ours = ("benchmarks.speed.ours", "loop", "1500", *overrides.split(), *COMMON.split())
    if options.before is not None:
        gate = "benchmarks/speed/gate.py"
        if (options.before / gate).read_bytes() != (ROOT / gate).read_bytes():  # an older one knows no slices of seconds
            raise SystemExit(f"{options.before / gate} differs from that of this checkout: copy it there")
        yield started("before", ours, options.before.resolve(), {})
    yield started("deeprl", ours, ROOT, {})
    for words in options.variants:
        given = dict(word.split("=", 1) for word in words if word.isupper() or word.partition("=")[0].isupper())
        changed = tuple(word for word in words if word.partition("=")[0] not in given)
        yield started(" ".join(words), (*ours, *changed), ROOT, given)
    if not options.alone:
        for library in ("sb3", "sbx"):
            yield started(library.upper(), ("benchmarks.speed.peers", library, of_peers, "1500", "bare"), ROOT, {})


def race(task: str, options: argparse.Namespace) -> Iterator[dict]:
    racers = list(contestants(task, options))
    for count in options.busy:
        for racer in racers:
            racer.rates.clear()
        with busy(count):
            for i in range(options.rounds):
                for racer in racers[i % len(racers) :] + racers[: i % len(racers)]:
                    racer.slice(f"1000000000 {options.seconds}")
        for racer in racers:
            rate, low, high = statistics.median(racer.rates), min(racer.rates), max(racer.rates)
            yield {"task": task, "contestant": racer.contestant.name, "busy": count, "rate": rate, "low": low, "high": high}
    for racer in racers:
        racer.stop()


def table(rows: list[dict], task: str) -> str:
    mine = [row for row in rows if row["task"] == task]
    counts = sorted({row["busy"] for row in mine})
    lines = [f"{TASKS[task][2]}: steps/s beside", f"{'busy processes':32}" + "".join(f"{count:>22}" for count in counts)]
    for name in dict.fromkeys(row["contestant"] for row in mine):
        cells = {row["busy"]: f"{row['rate']:.0f} ({row['low']:.0f} to {row['high']:.0f})" for row in mine if row["contestant"] == name}
        lines.append(f"{name:32}" + "".join(f"{cells.get(count, ''):>22}" for count in counts))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=", ".join(TASKS))
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2, 4, 8], help="numbers of busy processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a slice")
    parser.add_argument("--before", type=Path, help="another checkout of deeprl")
    parser.add_argument("--alone", action="store_true", help="without peers")
    parser.add_argument(
        "--with", dest="variants", nargs="+", action="append", default=[], metavar="WORD",
        help="one more deeprl, with these environment variables (NAME=VALUE) and overrides (key=value)",
    )  # fmt: skip
    parser.add_argument("--table", action="store_true", help="print the stored rows")
    parser.add_argument("--json", type=Path, help="replace the rows of these tasks in this file")
    options = parser.parse_args()
    tasks = options.tasks or list(TASKS)
    if options.table:
        rows = json.loads(FILE.read_text())["rows"]
        print("\n\n".join(table(rows, task) for task in tasks))
        return
    if not options.alone and not find_spec("sbx"):
        parser.error('no peers here: pip install -e ".[peers]", or --alone')
    for task in tasks:
        rows = list(race(task, options))
        print(table(rows, task), flush=True)
        if options.json:
            keep(options.json, task, rows, options.before)


def keep(file: Path, task: str, rows: list[dict], before: Path | None) -> None:
    old = json.loads(file.read_text())["rows"] if file.exists() else []
    ask = ["git", "rev-parse", "--short", "HEAD"]
    roots = {row["contestant"]: before if row["contestant"] == "before" else ROOT for row in rows}
    commits = {name: subprocess.run(ask, cwd=root, capture_output=True, text=True).stdout.strip() for name, root in roots.items()}
    system = {"processor": system_entry()["cpu"], "cores": len(os.sched_getaffinity(0))}
    new = [{**row, "commit": commits[row["contestant"]]} for row in rows]
    file.write_text(json.dumps({"system": system, "rows": [row for row in old if row["task"] != task] + new}, indent=1) + "\n")


if __name__ == "__main__":
    main()
