"""Trials of commands that read a stranger's folder, in a process with limits of memory and time."""

from __future__ import annotations

import io
import multiprocessing
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from benchmarks.mutate.campaign import PATIENCE, ROOM, shown, table

PROCESSOR = 20
"""Seconds of processor time of one trial: a report draws its figures, a sweep composes its jobs"""
Trial = Callable[[Path, int], tuple[str, str]]
"""Called with a folder of its own and a number. Returns what was planted, and the outcome."""


def campaign(trial: Trial, prepare: Callable[[Path], object], numbers: range) -> list[dict]:
    """The outcome of each trial, as `benchmarks.mutate.campaign` has them. A process that dies is followed by another one.

    Args:
        prepare: called once in each process, with a folder that all trials share, before the limit of memory.
    """
    done: list[dict] = []
    while len(done) < len(numbers):
        ours, theirs = multiprocessing.Pipe()
        worker = multiprocessing.get_context("spawn").Process(target=work, args=(trial, prepare, numbers[len(done) :], theirs))
        worker.start()
        theirs.close()
        started = len(done)
        while True:
            try:
                done.append(ours.recv())
            except EOFError:
                break
        worker.join()
        if len(done) < len(numbers):
            if len(done) == started and worker.exitcode != -signal.SIGALRM:
                raise SystemExit(f"the process of the trials ended with {worker.exitcode} before its first one")
            number = numbers[len(done)]
            done.append({**entry_of(trial, number), "what": "", "outcome": f"BAD exit code {worker.exitcode}", "seconds": 0.0})
    return done


def report(done: list[dict], what: str) -> int:
    """Print what came of a campaign, and return the number of bad outcomes."""
    print(table(done))
    found = {kind: [entry for entry in done if entry["outcome"].startswith(kind)] for kind in ("BAD", "failed")}
    for entry in (*found["BAD"], *found["failed"]):
        print(shown(entry))
    print(f"{what}, {len(found['BAD'])} bad")
    return len(found["BAD"])


def entry_of(trial: Trial, number: int) -> dict:
    return {"number": number, "mutation": Path(trial.__code__.co_filename).stem, "forged": False}


def work(trial: Trial, prepare: Callable[[Path], object], numbers: range, pipe) -> None:
    from benchmarks.mutate.trial import surround

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        prepare(place / "shared")
        surround(place)
        now = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize")).split()[1]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
        for number in numbers:
            signal.alarm(PATIENCE)
            began = time.process_time()
            what, found = trial(place, number)
            seconds = time.process_time() - began
            signal.alarm(0)
            found = f"BAD {seconds:.1f} s" if seconds > PROCESSOR and not found.startswith("BAD") else found
            pipe.send({**entry_of(trial, number), "what": what, "outcome": found, "seconds": round(seconds, 3)})


def said_by(*words: object) -> tuple[object, str]:
    """Exit code of a command of this process, and all that it printed."""
    from benchmarks.mutate.trial import warned
    from deeprl.cli import main as cli

    text = io.StringIO()
    try:
        with warned(text), redirect_stdout(text), redirect_stderr(text):
            cli.main([str(word) for word in words])
    except SystemExit as left:
        return left.code, text.getvalue()
    except BaseException as error:  # this is what is looked for
        return f"{type(error).__name__}: {str(error)[:300]}", text.getvalue()
    return 0, text.getvalue()


def verdict(code: object, text: str) -> str:
    """As in `trial.judged`; no character that moves a cursor may be printed either."""
    from benchmarks.mutate.trial import judged

    if strange := sorted({c for c in text if not c.isprintable() and c not in "\n\t"}):
        return f"BAD {strange} was printed"
    found = judged(code, text)
    return f"{found} ({' '.join(text.split())[-300:]})" if found.startswith(("BAD", "failed")) else found


def removed(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
