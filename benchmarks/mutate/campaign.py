"""Many trials, in processes with a memory limit, and what came of them."""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.mutate.mutations import MUTATIONS

ROOM = 2 << 30
"""Bytes of address space on top of what the process has when it starts to load."""
PATIENCE = 120
"""Seconds until a mutation counts as a hang."""
ONE_PROCESS = 2000
"""Trials, because the memory of a process breaks into pieces."""
KINDS = ("refused", "previous", "loaded", "stopped", "failed", "BAD")


def work(source: Path, seed: int, first: int, last: int, pipe) -> None:
    """Mutations `first` to `last`, each announced before it is read: if this process dies, the parent knows at which."""
    import torch

    from benchmarks.mutate.trial import READERS, outcome, surround, trial

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        surround(place)
        outcome(shutil.copytree(source, place / "warm", symlinks=True), (*READERS, ("replay-crash",)), 60)  # modules and caches
        shutil.rmtree(place / "warm")
        now = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize")).split()[1]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
        for number in range(first, last):
            dice, run = random.Random(f"{seed}/{number}"), place / "run"
            shutil.copytree(source, run, symlinks=True)
            mutation = dice.choice(MUTATIONS)
            pipe.send({"number": number, "mutation": mutation.__name__, "forged": number % 2 == 0})
            signal.alarm(PATIENCE)
            what, found, seconds = trial(run, mutation, dice, number % 2 == 0)
            signal.alarm(0)
            pipe.send({"what": what, "outcome": found, "seconds": round(seconds, 3)})
            shutil.rmtree(run)


def campaign(source: Path, seed: int, number: int, results: Path) -> list[dict]:
    """Goes on where `results` ends."""
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    context = multiprocessing.get_context("spawn")
    while len(done) < number:
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(source, seed, len(done), min(number, len(done) + ONE_PROCESS), theirs))
        worker.start()
        theirs.close()
        started = len(done)
        with open(results, "a") as file:
            while True:
                try:
                    entry = ours.recv()
                except EOFError:
                    break
                try:
                    entry |= ours.recv()
                except EOFError:
                    worker.join()
                    entry |= {"what": "", "outcome": f"BAD exit code {worker.exitcode}", "seconds": 0.0}
                done.append(entry)
                file.write(json.dumps(entry) + "\n")
        worker.join()
        if len(done) == started:
            raise SystemExit(f"the loading process ended with {worker.exitcode} before it loaded anything")
    return done


def table(done: list[dict]) -> str:
    rows = [["mutation", "manifests", "number", *KINDS]]
    for name in sorted({entry["mutation"] for entry in done}):
        for forged in (False, True):
            counted = Counter(e["outcome"].split()[0] for e in done if (e["mutation"], e["forged"]) == (name, forged))
            rows.append([name, "fit" if forged else "as they were", str(sum(counted.values())), *(str(counted[kind]) for kind in KINDS)])
    counted = Counter(entry["outcome"].split()[0] for entry in done)
    rows.append(["all", "", str(len(done)), *(str(counted[kind]) for kind in KINDS)])
    return "\n".join(["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0]), *("| " + " | ".join(row) + " |" for row in rows[1:])])


def shown(entry: dict) -> str:
    return f"{entry['number']}: {entry['what']}{', manifests fit' if entry['forged'] else ''}: {entry['outcome']}"
