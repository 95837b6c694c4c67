"""Races on this machine, contestants in turn, slice by slice, so that all meet the same weather.

    python -m benchmarks.speed                          every case, one and two threads (about half an hour)
    python -m benchmarks.speed td3_update --threads 1   one of them
    python -m benchmarks.speed cartpole_loop --beside ../before --threads 1
    python -m benchmarks.speed --peers ~/peers/bin/python --rounds 7 --json speed.json
    python -m benchmarks.speed ppo_lstm_cartpole --threads 1 --processor    a second is one of processor time

Peers are `pip install -e ".[peers]"`, or live in an environment of their own that --peers names; without them only deeprl races. Run it on
an idle machine, or with --processor, which leaves out what other processes take. "rate" is the median over slices, "all in" every unit over
every second, evaluations, logs and checkpoints included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.speed.cases import CASES, Case, Contestant
from deeprl.system.machine import system_entry

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Racer:
    contestant: Contestant
    process: subprocess.Popen
    clock: str = "seconds"
    """Which of the gate's: seconds, or processor"""
    rates: list[float] = field(default_factory=list)
    units: int = 0
    seconds: float = 0.0

    def answer(self) -> dict | None:
        """The next word from the gate; None if the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def slice(self, units: int | str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{units}\n")
        self.process.stdin.flush()
        answer = self.answer()
        if answer is None:
            raise SystemExit(f"{self.contestant.name} ended in mid-race")
        self.rates.append(answer["units"] / answer[self.clock])
        self.units += answer["units"]
        self.seconds += answer[self.clock]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def environment(threads: int, root: Path) -> dict[str, str]:
    numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    flags = "" if threads > 1 else "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {**os.environ, **numbers, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}


def race(case: Case, threads: int, rounds: int, peers: str | None, beside: Path | None, clock: str = "seconds") -> list[dict]:
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    racers: list[Racer] = []
    contestants = [(contestant, ROOT) for contestant in case.contestants(threads)]
    if beside is not None:
        ours = [contestant for contestant, _ in contestants if contestant.command[0] == "benchmarks.speed.ours"]
        contestants = [entry for each in ours for entry in ((replace(each, name=f"beside: {each.name}"), beside), (each, ROOT))]
    for contestant, root in contestants:
        if contestant.peer and peers is None:
            continue
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        command = [peers if contestant.peer else sys.executable, "-m", *contestant.command]
        process = subprocess.Popen(
            command, cwd=root, env=environment(threads, root), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        racer = Racer(contestant, process, clock)
        if racer.answer() is None:  # warm, or dead
            errors.seek(0)
            print(f"  {contestant.name} did not start: {errors.read().strip().splitlines()[-1:]}", flush=True)
            continue
        racers.append(racer)
    for i in range(rounds):
        for racer in racers[i % len(racers) :] + racers[: i % len(racers)]:
            racer.slice(case.slice)
    for racer in racers:
        racer.stop()
    return [
        {
            "case": case.name, "threads": threads, "contestant": r.contestant.name, "rate": statistics.median(r.rates),
            "low": min(r.rates), "high": max(r.rates), "all_in": r.units / r.seconds,
        }
        for r in racers
    ]  # fmt: skip


def table(rows: list[dict], case: Case) -> str:
    base = next((r for r in rows if r["contestant"] == case.base), rows[0])
    lines = [f"{'':28}{case.unit + '/s':>12}{'low':>10}{'high':>10}{'all in':>10}{'of ' + base['contestant']:>20}"]
    for row in rows:
        share = row["rate"] / base["rate"]
        lines.append(
            f"{row['contestant']:28}{row['rate']:12,.1f}{row['low']:10,.1f}{row['high']:10,.1f}{row['all_in']:10,.1f}{share:20.2f}"
        )
    return "\n".join(lines)


def keep(file: Path, found: list[dict]) -> None:
    """Put the rows in a file, each with its commit; rows of other races and whatever else somebody wrote there stay."""
    old = json.loads(file.read_text()) if file.exists() else {"rows": []}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    fresh = {(r["case"], r["threads"], r["contestant"]) for r in found}
    kept = [r for r in old["rows"] if (r["case"], r["threads"], r["contestant"]) not in fresh]
    system = system_entry()
    old["system"] = {"processor": system["cpu"], "python": platform.python_version(), "cores": system["cpus"]}
    old["rows"] = kept + [{**row, "commit": commit} for row in found]
    file.write_text(json.dumps(old, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    parser.add_argument("--threads", type=int, nargs="*", help="default: what the case asks for")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", help="interpreter that has the peers; default: this one, if they are installed")
    parser.add_argument("--beside", type=Path, help="another checkout of deeprl: its modes race against ours, and nothing else does")
    parser.add_argument("--processor", action="store_true", help="rates by processor time, of a machine with other work")
    parser.add_argument("--json", type=Path, help="add the rows to this file")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    from importlib.util import find_spec

    peers = options.peers or (sys.executable if find_spec("sbx") else None)
    if peers is None:
        print('no peers here: pip install -e ".[peers]", or name an interpreter with --peers')
    found: list[dict] = []
    clock = "processor" if options.processor else "seconds"
    for name in options.cases or CASES:
        case = CASES[name]
        for threads in options.threads or case.threads:
            print(f"\n{name}, {threads} thread{'s' * (threads > 1)}: {case.what}", flush=True)
            rows = race(case, threads, options.rounds, peers, options.beside and options.beside.resolve(), clock)
            print(table(rows, case), flush=True)
            found += rows
            if options.json:
                keep(options.json, found)


if __name__ == "__main__":
    main()
