"""Sweeps and studies of strangers, read by `deeprl sweep resume` and `deeprl tune resume`.

python -m benchmarks.mutate.studies [--number 100] [--first 0]

Each trial plants one thing in the folder of a finished sweep or study that has jobs left: a link, a pipe, a hole of a terabyte or a second
name of a file outside, at a name that the command reads or writes; or another value of a leaf of its JSON. Its jobs are no processes: one
writes the records of a run that is over.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.mutate.limited import campaign, removed, report, said_by, verdict
from benchmarks.mutate.mutations import NASTY, TEXTS, walk
from benchmarks.mutate.trial import surroundings

TOY = (
    "agent=dqn", "env=toy/chain", "steps=40", "replay.learning_starts=20", "replay.capacity=100", "agent.torso.hidden=[16]",
    "evaluation.every=20", "evaluation.final_episodes=1", "runtime.threads=1",
)  # fmt: skip
SWEEP = ("sweep.json", "seed=0", "seed=1", "seed=0.log", "seed=1.log", "seed=1.slurm", "seed=1/status.json", "seed=1/config.yaml", "lock")
STUDY = (
    "tune.json", "study.log", "study.log.lock", "trials.csv", "history.png", "importance.png", "best", "best/experiment",
    "best/experiment/best.yaml", "trial=000,seed=0", "trial=001,seed=0", "trial=001,seed=0.log",
    "trial=001,seed=0/evaluations.jsonl", "lock",
)  # fmt: skip
"""Names that the commands read or write"""
KINDS = ("file", "folder", "dangling link", "pipe", "device", "hole", "second name", "escape", "directory")


def prepare(shared: Path) -> None:
    """A sweep and a study whose last job is left."""
    shared.mkdir()
    with jobs_that_are_over():
        for words in (
            ("sweep", *TOY, "seed=0,1", "--dir", shared / "sweep"),
            ("tune", *TOY, "agent.optimizer.lr=interval(0.001,0.01)", "--seeds", 1, "--trials", 1, "--jobs", 1, "--dir", shared / "study"),
        ):
            code, text = said_by(*words)
            if code != 0:
                raise SystemExit(text)
    shutil.rmtree(shared / "sweep" / "seed=1")


class Over:
    """In place of the process of a job: its run is finished, by the records in its folder."""

    pid = 0

    def __init__(self, command: list[str], **ignored: object):
        from deeprl.running.runs.folder import RunFolder

        run = RunFolder(Path(next(word for word in command if word.startswith("hydra.run.dir=")).partition("=")[2].strip("'")))
        run.path.mkdir(exist_ok=True)
        run.truncate_after(-1)
        for step in (20, 40):
            run.append_evaluation({"step": step, "seed": 0, "returns": [float(step)], "lengths": [1]})
        run.write_status("finished", 40, 10)

    def poll(self) -> int:
        return 0

    def send_signal(self, number: int) -> None: ...

    def kill(self) -> None: ...

    def wait(self) -> int:
        return 0


@contextmanager
def jobs_that_are_over() -> Iterator[None]:
    from deeprl.tools.sweep import process

    plain = process.subprocess.Popen
    process.subprocess.Popen = Over  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        process.subprocess.Popen = plain  # type: ignore[misc]


def plant(folder: Path, name: str, kind: str) -> None:
    """Put something at a name; `outside` with a file stands beside the folder."""
    path, outside = folder / name, folder.parent / "outside"
    path.parent.mkdir(exist_ok=True)
    if kind not in ("hole", "escape"):
        removed(path)
        path.unlink(missing_ok=True)
    elif path.is_dir():
        removed(path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "second name":
        os.link(outside / "precious", path)
    elif kind == "hole":
        path.touch()
        os.truncate(path, 1 << 40)
    elif kind == "escape":
        path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\x1b[2J\xff\x9b31m=1+1\n")
    elif kind == "directory":
        (path / "in").mkdir(parents=True)
    else:
        target = {"file": outside / "precious", "folder": outside, "dangling link": outside / "new", "device": Path("/dev/zero")}[kind]
        path.symlink_to(target)


def leaf(file: Path, dice: random.Random) -> str:
    """Another value of one leaf of a JSON file, or of one line of study.log."""
    lines = [file.read_text()] if file.suffix == ".json" else file.read_text().splitlines()
    place = dice.randrange(len(lines))
    content = json.loads(lines[place])
    parent, key = dice.choice(list(walk(content)))
    if dice.random() < 0.2:
        lines[place] = lines[place].replace(json.dumps(parent[key]), dice.choice(TEXTS), 1)
    else:
        parent[key] = dice.choice((*NASTY, 10**9, ["--config-dir", "/"], "agent.optimizer.lr=range(0,1000000000)", ["setup=[touch pwned]"]))
        lines[place] = json.dumps(content)
    file.write_text("\n".join(lines) + "\n")
    return f"{key} in {file.name}"


def trial(place: Path, number: int) -> tuple[str, str]:
    """Numbers begin with every name and kind, in an order of their own, and go on with leaves."""
    kinds = [("sweep", name, kind) for name in SWEEP for kind in KINDS] + [("study", name, kind) for name in STUDY for kind in KINDS]
    dice = random.Random(number)
    random.Random(0).shuffle(kinds)
    if number % 4 != 3:
        source, name, kind = kinds[number % len(kinds)]
        folder = shutil.copytree(place / "shared" / source, place / source, symlinks=True)
        plant(folder, name, kind)
        what = f"{kind} at {source}/{name}"
    else:
        source, name = dice.choice((("sweep", "sweep.json"), ("study", "tune.json"), ("study", "study.log")))
        folder = shutil.copytree(place / "shared" / source, place / source, symlinks=True)
        what = leaf(folder / name, dice)
    return what, outcome(folder, "sweep" if source == "sweep" else "tune")


def outcome(folder: Path, command: str) -> str:
    before = surroundings(folder)
    here = Path.cwd()
    with jobs_that_are_over():
        found = verdict(*said_by(command, "resume", folder, *(("--trials", 2) if command == "tune" else ())))
    os.chdir(here)
    if surroundings(folder) != before:
        found = "BAD something outside of the folder was made or changed"
    if "canary" in sys.modules:
        found = "BAD code was run"
    removed(folder)
    return found


def run(number: int, first: int = 0) -> int:
    """Trials from the number `first` on; the number of bad outcomes."""
    done = campaign(trial, prepare, range(first, first + number))
    return report(done, f"{len(done)} sweeps and studies")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the first number, which decides what is planted")
    options = parser.parse_args()
    return min(run(options.number, options.first), 100)


if __name__ == "__main__":
    sys.exit(main())
