"""Learning of many agents on the same tasks: whole training runs, one after the other, kept as a table.

python -m benchmarks.learning --folder FOLDER --set minatar [--again] [--seeds 0] [--agents dqn mvi] [--tasks minatar/breakout]
python -m benchmarks.learning --table [--into learning] [--at 150000 --agents td3 itd3]

Finished runs are written to benchmarks/results/learning.json (or --into another) with the overrides and the commit that made them, and
are not made again, unless with `--again`, which writes to FOLDER/learning.json instead; a run that was interrupted is resumed from its
folder. Several of these may run at once (`--reverse`: from the end): the folder of a run is claimed by the process that trains it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import scipy

from benchmarks.curves import read
from benchmarks.recipes import AS_PUBLISHED, LOG_MAPPED, PUBLISHED_VERSION, RECIPES, SETS
from deeprl.running.runs.folder import RunFolder
from deeprl.system.machine import own_commit
from deeprl.system.signals import interrupting

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def command(name: str, agent: str, env: str, seed: int, mode: str) -> list[str]:
    """Words of `train.py` for a run of the set `name`; a task gym/ID is any of Gymnasium, whose package is among the words of the set."""
    task = ["env=gym", f"env.id={env.removeprefix('gym/')}"] if env.startswith("gym/") else [f"env={env}"]
    version = [PUBLISHED_VERSION[env]] if name in AS_PUBLISHED else []
    return [
        *RECIPES[agent].split(), *task, *version, f"seed={seed}", *SETS[name][1].split(), f"accelerate={mode}", "runtime.threads=1",
    ]  # fmt: skip


def stored(results: Path) -> list[dict]:
    return json.loads(results.read_text()) if results.exists() else []


def keep(line: dict, results: Path) -> None:
    """Add one run to the results, with the commit of the code that does it, unless the line names those that trained it."""
    own = own_commit()
    known = {**line, "commit": own["commit"][:7]} if own is not None and "commit" not in line else line
    written(results, lambda lines: [*lines, known])


def change(line: dict, results: Path) -> None:
    """Put what is now known of a run in place of what was stored of it."""
    keys = ("name", "env", "seed", "steps")
    written(results, lambda lines: [line if all(each[key] == line[key] for key in keys) else each for each in lines])


def written(results: Path, changed: Callable[[list[dict]], list[dict]]) -> None:
    """Under a lock, because several processes write."""
    with open(__file__) as lock:  # a file that is there anyway: nothing is left behind
        fcntl.flock(lock, fcntl.LOCK_EX)
        part = results.with_suffix(".partial")
        part.write_text("[\n" + ",\n".join(json.dumps(each) for each in changed(stored(results))) + "\n]\n")
        part.replace(results)


def train(folder: Path, words: list[str], until: float = math.inf) -> bool:
    """Start or resume; returns whether it finished, and prints where its log is if it did not. `resume=auto` makes the same command do
    both. The processor time of each start is written behind the folder's name, that of one whose caller was killed is not.

    Args:
        until: when the run is stopped, in seconds of `time.monotonic`. It is saved then, as it is when this process is told to end.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, str(ROOT / "train.py"), f"hydra.run.dir={folder}", "resume=auto", *words]
    before = processor_seconds()
    with open(f"{folder}.log", "a") as log, interrupting():
        process = subprocess.Popen(line, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            process.wait(None if until == math.inf else max(until - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            pass
        finally:  # also where this process is told to end
            if process.poll() is None:
                process.terminate()
                process.wait()
            with open(f"{folder}.seconds", "a") as seconds:
                seconds.write(f"{processor_seconds() - before:.1f}\n")
    if process.returncode:
        print(f"{folder.name}: {'did not finish' if time.monotonic() < until else 'stopped'}, see {folder}.log", flush=True)
    return process.returncode == 0


def after(minutes: float | None) -> float:
    """That time, in seconds of `time.monotonic`; None: never."""
    return math.inf if minutes is None else time.monotonic() + 60 * minutes


def processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def commits(folder: Path) -> str:
    """Commits that trained a run, in order: more than one if it was resumed by a later one."""
    found = [entry["git"]["commit"][:7] for entry in RunFolder(folder).read_system() if entry["git"]]
    return ", ".join(dict.fromkeys(found))


def other_words(folder: Path, words: list[str]) -> list[str]:
    """Words that the commands of a run have and `words` have not, or the reverse."""
    commands = [shlex.split(entry.get("command", "")) for entry in RunFolder(folder).read_system()]
    ours = [command[1:] for command in commands if command and command[0].endswith("train.py")]  # not those of deeprl resume
    given = {word for command in ours for word in command if not word.startswith(("hydra.run.dir=", "resume="))}
    return sorted(given ^ set(words)) if given else []


def table(lines: list[dict]) -> str:
    """Final means, one row an agent, one column a task, budget and seed."""
    tasks = sorted({(line["env"], line["steps"], line["seed"]) for line in lines})
    rows = [
        "| agent | " + " | ".join(f"{env}, {steps:,} steps, seed {seed}" for env, steps, seed in tasks) + " |",
        "|---|" + "---|" * len(tasks),
    ]
    for name in RECIPES:
        found = {(line["env"], line["steps"], line["seed"]): line["final"]["mean"] for line in lines if line["name"] == name}
        if found:
            rows.append(f"| {name} | " + " | ".join(f"{found[task]:.1f}" if task in found else "" for task in tasks) + " |")
    return "\n".join(rows)


def interval(values: list[float]) -> float:
    """Half of Student's 95 % interval of the mean; 0 for one value."""
    if len(values) < 2:
        return 0.0
    return float(scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


WINDOW = 20_000
"""Steps whose evaluations make a score: four of them where one is due every 5,000"""


def scores(lines: list[dict], at: int) -> dict[tuple[str, str], dict[int, float]]:
    """Agent and task -> seed -> mean of the evaluations in the last `WINDOW` steps up to `at`.

    Runs with a larger budget count as far as they have gone. Of a seed that was trained with several budgets, the smallest one counts.
    """
    found: dict[tuple[str, str], dict[int, tuple[int, float]]] = {}
    for line in lines:
        curve = [mean for step, mean in line["curve"] if at - WINDOW < step <= at]
        if line["steps"] >= at and at in [step for step, _ in line["curve"]] and len(curve) > 1:
            seeds = found.setdefault((line["name"], line["env"]), {})
            if line["seed"] not in seeds or seeds[line["seed"]][0] > line["steps"]:
                seeds[line["seed"]] = (line["steps"], float(np.mean(curve)))
    return {key: {seed: value for seed, (_, value) in sorted(seeds.items())} for key, seeds in found.items()}


def compared(lines: list[dict], at: int) -> str:
    """Mean over seeds of `scores`, with Student's 95 % interval; each seed behind it."""
    found = scores(lines, at)
    envs = sorted({env for _, env in found})
    rows = [f"| up to {at:,} steps | " + " | ".join(envs) + " |", "|---|" + "---|" * len(envs)]
    for name in [name for name in RECIPES if any(name == each for each, _ in found)]:
        cells = []
        for env in envs:
            values = list(found.get((name, env), {}).values())
            mean = float(np.mean(values)) if values else 0.0
            half = interval(values)
            each = ", ".join(f"{value:,.0f}" for value in values)
            cells.append((f"{mean:,.0f} ± {half:,.0f} ({each})" if half else f"{mean:,.0f}") if values else "")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def planned(name: str, agents: Sequence[str] | None, seeds: Iterable[int]) -> list[tuple[str, str, int]]:
    """Agent, task and seed of every run of a set."""
    envs, _, usual = SETS[name]
    runs = [(agent, env, seed) for seed in seeds for agent in agents or usual for env in envs]
    return [run for run in runs if name != "cartpole" or run[0] not in LOG_MAPPED]


def train_all(
    name: str, runs: Iterable[tuple[str, str, int]], folder: Path, results: Path, mode: str, until: float = math.inf
) -> list[str]:
    """Train what is not in the table yet, and is not trained by another process, until a time; see `train`.

    Returns:
        names of the runs that failed. One that was stopped for the time did not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for agent, env, seed in runs:
        if time.monotonic() > until:
            break
        words = command(name, agent, env, seed, mode)
        steps = int(next(word for word in words if word.startswith("steps=")).partition("=")[2])
        path = folder.resolve() / f"{agent}-{env.replace('/', '_')}-{seed}-{steps}"
        claim = open(f"{path}.claim", "w")  # noqa: SIM115 (held while the run trains)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another process is training it
        same = [line for line in stored(results) if (line["name"], line["env"], line["seed"], line["steps"]) == (agent, env, seed, steps)]
        if same:
            other = sorted(set(same[0]["overrides"]) ^ set(words))
            if other:
                print(f"{path.name}: kept as it is stored, with other settings: {', '.join(other)}", flush=True)
            continue
        if RunFolder(path).read_summary() and (other := other_words(path, words)):  # of another set, which has the same names
            print(f"{path.name}: its run was trained with other settings: {', '.join(other)}. Take another folder", flush=True)
            failed.append(path.name)
            continue
        if not RunFolder(path).read_summary() and not train(path, words, until):  # a finished run is only read
            failed += [path.name] if time.monotonic() < until else []
            continue
        assert RunFolder(path).read_summary(), f"{path} has no summary.json"
        spent = Path(f"{path}.seconds")
        hours = {"processor_seconds": sum(map(float, spent.read_text().split()))} if spent.exists() else {}
        line = {"name": agent, **read(path), **hours, "overrides": words, "commit": commits(path)}
        keep(line, results)
        print(f"{path.name}: {line['final']['mean']:.1f}, {line['steps_per_second']:.0f} steps/s", flush=True)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--set", choices=SETS, default="minatar", metavar="NAME", help="one of SETS in benchmarks/recipes.py")
    parser.add_argument("--agents", nargs="+", choices=RECIPES, metavar="NAME", help="of benchmarks/recipes.py; default: those of the set")
    parser.add_argument("--tasks", nargs="+", default=None, help="some of those of the set")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--into", default="learning", help="the table benchmarks/results/INTO.json")
    parser.add_argument("--mode", default="compiled", help="accelerate=…")
    parser.add_argument("--reverse", action="store_true", help="from the end of the list")
    parser.add_argument("--minutes", type=float, default=None, help="stop after so many; what runs is saved, and goes on at the next call")
    parser.add_argument("--again", action="store_true", help="train what is stored too; the table goes to FOLDER")
    parser.add_argument("--table", action="store_true", help="only print the table, of all sets")
    parser.add_argument("--at", type=int, default=None, help="with --table: scores up to this step, over seeds")
    options = parser.parse_args()
    if options.folder is None and (options.again or not options.table):
        parser.error("--folder says where the run folders go; or print what there is with --table")
    results = (options.folder if options.again else RESULTS) / f"{options.into}.json"
    failed = list[str]()
    if not options.table:
        unknown = set(options.tasks or ()) - set(SETS[options.set][0])
        if unknown:
            parser.error(f"--tasks: {', '.join(unknown)} is not in the set {options.set}: {', '.join(SETS[options.set][0])}")
        runs = [run for run in planned(options.set, options.agents, options.seeds) if not options.tasks or run[1] in options.tasks]
        runs = runs[::-1] if options.reverse else runs
        failed = train_all(options.set, runs, options.folder, results, options.mode, after(options.minutes))
    if options.at is not None:
        print(compared([line for line in stored(results) if options.agents is None or line["name"] in options.agents], options.at))
    else:
        print(table([line for line in stored(results) if options.table or line["env"] in SETS[options.set][0]]))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
