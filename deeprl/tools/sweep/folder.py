"""The folder of a sweep: `sweep.json` with the jobs, and for each job a run folder and a log file beside it."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from deeprl.errors import ConfigError, RunFolderError
from deeprl.running.config.overrides import key_of
from deeprl.running.runs.folder import JSON_LIMIT, RunFolder, holder
from deeprl.running.runs.moved import word_of_today
from deeprl.system.files import machine_fault, own_folder, read_regular, replace_file, said
from deeprl.system.machine import now
from deeprl.system.strict_json import JsonObject, strict_json
from deeprl.tools.sweep.grid import Job, is_override

T = TypeVar("T")


class Place(NamedTuple):
    """Where the jobs of a sweep run."""

    on: str = "local"
    slurm: tuple[str, ...] = ()
    """Parameters of submitit, KEY=VALUE."""
    ray_address: str | None = None
    jobs: int | None = None
    """At most so many side by side, as far as they were limited."""

    def connects(self) -> str:
        """The words that name a cluster of others, which may send any code; empty without one."""
        stranger = self.on == "ray" and self.ray_address not in (None, "auto")
        return f"--ray-address {shlex.quote(str(self.ray_address))}" if stranger else ""


PLACES = ("local", "slurm", "ray")


class SweepFolder:
    """
    Args:
        overrides: as the user gave them.
        config_dir: an additional folder of configurations.
        cwd: the folder where the first command was given, of which relative paths in overrides are meant; None: the current one.
        place: of the last command.
    """

    def __init__(
        self,
        path: Path,
        overrides: Sequence[str],
        jobs: Sequence[Job],
        config_dir: str | None = None,
        cwd: str | None = None,
        place: Place = Place(),
    ):
        self.path, self.overrides, self.jobs, self.config_dir = path.absolute(), list(overrides), list(jobs), config_dir
        self.cwd, self.place = cwd or str(Path.cwd()), place
        self.trust = ""
        """Words with which a command accepts what the jobs name, once they are known"""

    @classmethod
    def read(cls, path: Path) -> SweepFolder:
        """
        Raises:
            RunFolderError: the folder holds no sweep, or sweep.json is damaged.
        """

        def parse(found: Any) -> SweepFolder:
            jobs = [Job(entry["folder"], tuple(entry["overrides"])) for entry in found["jobs"]]
            sound = all(_is_name(job.name) and all(is_override(o) for o in job.overrides) for job in jobs)
            if not sound or len({job.name for job in jobs}) < len(jobs) or not isinstance(found["config_dir"], str | None):
                raise ValueError("it names no folders or no overrides")
            place, cwd = Place(**found["place"]), found["cwd"]
            place = place._replace(slurm=tuple(place.slurm))
            words = (*place.slurm, place.ray_address or "", cwd or "")
            limited = place.jobs is None or (type(place.jobs) is int and place.jobs > 0)
            if place.on not in PLACES or not limited or not all(isinstance(word, str) for word in words):
                raise ValueError("it names no place for its jobs")
            jobs = [job._replace(overrides=tuple(map(word_of_today, job.overrides))) for job in jobs]
            return cls(path, [word_of_today(str(override)) for override in found["overrides"]], jobs, found["config_dir"], cwd, place)

        return read_record(path / "sweep.json", "sweep", parse)

    def exists(self) -> bool:
        return (self.path / "sweep.json").exists()

    def store(self) -> None:
        """Write sweep.json, under the lock. If it is there already, jobs may be added, and the place may change.

        Raises:
            ConfigError: it holds another one, or the grid is too large.
        """
        if self.exists():
            found = SweepFolder.read(self.path)
            if found.grown(self) is found and found.place == self.place:
                return None
        jobs = [{"folder": job.name, "overrides": job.overrides} for job in self.jobs]
        content: JsonObject = {
            "overrides": self.overrides,
            "config_dir": self.config_dir,
            "cwd": self.cwd,
            "place": self.place._asdict(),
        }
        content |= {"time": now(), "jobs": jobs}
        text = json.dumps(content, indent=1) + "\n"
        if len(text) > JSON_LIMIT:
            raise ConfigError(
                f"{len(jobs):,} jobs are too many: sweep.json would have more than the {JSON_LIMIT:,} bytes that are read back"
            )
        return replace_file(self.path / "sweep.json", text)

    def run(self, job: Job) -> Path:
        return self.path / job.name

    def log(self, job: Job) -> Path:
        return self.path / f"{job.name}.log"

    def note(self, job: Job) -> Path:
        """File with the number of the job in Slurm's queue."""
        return self.path / f"{job.name}.slurm"

    def resume_command(self) -> str:
        words = [f"deeprl sweep resume {shlex.quote(str(self.path))}", self.place.connects()]
        return " ".join(filter(None, words)) + self.trust

    @contextlib.contextmanager
    def at_home(self) -> Iterator[None]:
        """Relative paths mean what they meant for the first command.

        Raises:
            RunFolderError: that folder is gone.
        """
        if not Path(self.cwd).is_dir():
            raise RunFolderError(f"{self.path}: {self.cwd}, where this began, is gone, and relative paths were meant from there.")
        with contextlib.chdir(self.cwd):
            yield

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working in this folder.

        Raises:
            RunFolderError: one does.
        """
        if who := holder(self.path):
            raise RunFolderError(f"{self.path}: {who} works in this folder. Wait for it, or stop it.")
        with RunFolder(self.path).lock():
            yield

    def require_free(self, jobs: Sequence[Job]) -> None:
        """
        Raises:
            RunFolderError: another process trains in the folder of a job.
        """
        busy = [f"{job.name} ({who})" for job in jobs if (who := holder(self.run(job)))]
        if busy:
            raise RunFolderError(f"{self.path}: jobs still run elsewhere: {', '.join(busy)}. Wait for them, or stop them.")

    def require_own(self, jobs: Sequence[Job]) -> None:
        """
        Raises:
            RunFolderError: the folder of a job is a link. A sweep may be a stranger's, and its job would train where the link points.
        """
        for job in jobs:
            try:
                own_folder(self.run(job))
            except OSError as error:
                raise RunFolderError(f"{self.run(job)}: {error.strerror}; put the whole folder of the sweep where there is space") from None

    def grown(self, other: SweepFolder) -> SweepFolder:
        """What a command line makes of this folder: `other`, which has all its jobs and perhaps more, such as more seeds. Jobs that are
        here keep their names, which may say less than those of the larger grid.

        Raises:
            ConfigError: `other` lacks a job, or takes configurations from another folder, or a new job has the name of another one, or of
                something that is there.
        """
        here = {tuple(sorted(job.overrides, key=key_of)): job for job in self.jobs}  # in any order, but for a key that is given twice
        jobs = [here.get(tuple(sorted(job.overrides, key=key_of)), job) for job in other.jobs]
        kept = f"choose another folder, or {self.resume_command()}."
        if other.config_dir != self.config_dir:
            raise ConfigError(f"--dir={self.path} holds a sweep with --config-dir {self.config_dir}, not {other.config_dir}: {kept}")
        if not {*self.jobs} <= {*jobs} or len({job.name for job in jobs}) < len(jobs):
            more = "A grid with more values goes on with it if it has all of these."
            raise ConfigError(f"--dir={self.path} holds another sweep, {shlex.join(self.overrides)}: {kept} {more}")
        if len(jobs) == len(self.jobs):
            return self
        for job in jobs:
            if job not in self.jobs and self.run(job).exists():
                raise ConfigError(f"{self.run(job)} would be that of a new job, and is none of this sweep: move it, or {kept}")
        other.jobs, other.cwd, other.place = jobs, self.cwd, self.place
        return other


# ---- what sweeps and studies share


def read_record(file: Path, kind: str, parse: Callable[[Any], T]) -> T:
    """What sweep.json or tune.json describes.

    Args:
        kind: "sweep" or "study".
        parse: from the content; any other content raises ValueError, TypeError or KeyError.

    Raises:
        RunFolderError: there is no such file, or it is damaged, or cannot be read now.
    """
    try:
        return parse(strict_json(read_regular(file, JSON_LIMIT)))
    except (FileNotFoundError, NotADirectoryError):
        raise RunFolderError(f"{file.parent} holds no {kind}: there is no {file}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        if fault := machine_fault(error):
            raise unread(file, fault) from error
        raise RunFolderError(f"{file} is damaged: {said(error)}; start the {kind} in another folder") from None


def unread(file: Path, fault: str) -> RunFolderError:
    """The error of a file that may be whole."""
    return RunFolderError(f"{file} cannot be read: {fault}. It may be whole, so try again")


def require_empty(path: Path, kind: str) -> None:
    """
    Raises:
        ConfigError: the folder of a new sweep or study holds something else.
    """
    began = re.compile(r"lock|\..*\.partial")  # of one that was killed as it wrote its first file
    if path.exists() and (not path.is_dir() or any(not began.fullmatch(entry.name) for entry in path.iterdir())):
        raise ConfigError(f"--dir={path} exists and holds no {kind}: choose a new folder.")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"\w[\w.,=+-]*", name, flags=re.ASCII) is not None
