"""Jobs in a Slurm queue, one Slurm job a run, by submitit. They stay there when the sweep ends, and a resumed sweep finds them again.

Before a preemption or the end of its time submitit gets SIGUSR2. Its handler calls `Submission.checkpoint`, which stops the run saved, and
requeues the job, which then continues the run. With `cluster=local` all of this happens on this machine, without a queue.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from deeprl.errors import FAILED, STOPPED, ConfigError, RunFolderError, on_one_line
from deeprl.system.files import appending, make_folder, read_regular, replace_file, said
from deeprl.system.machine import extra
from deeprl.tools.sweep.launcher import LaunchedJob
from deeprl.tools.sweep.process import Task, stop, wait

TIMEOUTS = 1000
"""Times that a job may reach its time limit. submitit's default is 3, but a run that resumes may go on for ever."""

LIMITS = ("timeout_min", "time")
"""Names of the time limit of a job, in minutes."""
TASKS = ("nodes", "tasks_per_node", "ntasks_per_node")
"""Names of the numbers of tasks of a job, each of which would start the same run."""
STRUCTURED = ("setup", "teardown", "srun_args", "additional_parameters")
"""Parameters that are lists or dictionaries."""
RESULT_LIMIT, RESULT_WAIT = 1 << 20, 15
"""Largest bytes of the answer of a job, and seconds until a slow file system shows it"""
AGAIN = 60.0
"""Seconds until Slurm is asked again whether a job is in its queue."""
SlurmJob = Any
"""A job of submitit, a package that need not be there"""


def submitit() -> Any:
    """
    Raises:
        ConfigError: the package is missing.
    """
    try:
        import submitit as package
    except ImportError:
        raise ConfigError(f"--on slurm needs the package submitit: {extra('slurm')}.") from None
    return package


def executor(folder: Path, parameters: Sequence[str], threads: int) -> Any:
    """The executor of submitit that puts jobs into the queue.

    Args:
        folder: for scripts, pickles and logs of submitit, in a folder of this executor. In one that is known, a stranger may have put
            pickles and links with the numbers of the next jobs.
        parameters: words KEY=VALUE for submitit's `update_parameters`; or `cluster=local`, which tries them on this machine.
        threads: of each job.

    Raises:
        ConfigError: there is no Slurm on this machine, or a parameter is wrong.
    """
    package = submitit()
    given: dict[str, Any] = {"name": "deeprl", "cpus_per_task": threads}
    for word in parameters:
        key, _, text = word.partition("=")
        name = key.removeprefix("slurm_")
        if not (name and text):
            raise ConfigError(f"--slurm {word} is not of the form KEY=VALUE.")
        given[name] = value = read(name, text)
        if name in LIMITS and (type(value) is not int or value < 1):
            raise ConfigError(f"--slurm {word}: a time limit is a whole number of minutes, at least 1, as in --slurm timeout_min=600.")
        if name in STRUCTURED and not isinstance(value, (list, dict)):
            raise ConfigError(f"--slurm {word}: {key} takes a list or a dictionary, as in --slurm 'setup=[module load cuda]'.")
        if name in TASKS and value != 1:
            raise ConfigError(f"--slurm {word}: a job is one run in one process. Leave {key} out.")
    cluster, minutes = given.pop("cluster", "slurm"), [value for name, value in given.items() if name in LIMITS]
    if cluster not in ("slurm", "local"):
        raise ConfigError(f"--slurm cluster={cluster}: it is slurm, or local, where the jobs run on this machine as Slurm would run them.")
    try:
        own, python = folder / secrets.token_hex(8), f"{shlex.quote(sys.executable)} -P"  # which searches no module in the current folder
        if cluster == "local":
            found = package.LocalExecutor(own, max_num_timeout=TIMEOUTS, python=python)
            found.update_parameters(timeout_min=minutes[0] if minutes else 1)  # of the others it knows none
        else:
            found = package.AutoExecutor(own, cluster="slurm", slurm_max_num_timeout=TIMEOUTS, slurm_python=python)
            found.update_parameters(**{f"slurm_{name}": value for name, value in given.items()})
    except RuntimeError as error:
        raise ConfigError(
            f"--on slurm: {on_one_line(error)} To try the jobs on this machine as Slurm would run them, add --slurm cluster=local."
        ) from error
    except (NameError, ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"--slurm: {on_one_line(error)}") from error
    if not minutes:
        raise ConfigError(
            "--on slurm needs a time limit for its jobs, because submitit's own is five minutes: --slurm timeout_min=600. A job that "
            "reaches it is saved, queued again, and goes on."
        )
    return found


def has_queue(executor: Any) -> bool:
    """Whether its jobs go to Slurm's queue, and not to this machine."""
    return not isinstance(executor, submitit().LocalExecutor)


def executes(word: str) -> bool:
    """Whether a parameter, KEY=VALUE, adds lines of its own to the script of a job: shell commands, or options of Slurm that name some."""
    return word.partition("=")[0].removeprefix("slurm_") in STRUCTURED or not word.isprintable()


def read(name: str, text: str) -> Any:
    """The value of a parameter: a number, true or false, a list or a dictionary, as in YAML. Anything else is Slurm's own notation, as in
    gpu,long or node[1-3] or 10:00:00, and stays as it stands."""
    try:
        value = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):  # ValueError: 2026-13-01 is no date
        return text
    if isinstance(value, bool) or (isinstance(value, list | dict) and name in STRUCTURED):
        return value
    return value if isinstance(value, int | float) and str(value) == text else text  # YAML reads 10:00 as 600, and 010 as 8


class Slurm:
    """
    Args:
        executor: of submitit.
        slots: jobs in the queue at a time; None: all of them.
    """

    stays, near, pause = True, False, 1.0

    def __init__(self, executor: Any, slots: int | None = None):
        self.executor, self.slots = executor, slots
        self._queued: list[Queued] = []

    def start(self, task: Task) -> LaunchedJob:
        """Submit a job, unless an earlier sweep has submitted it and it has not ended.

        Raises:
            RunFolderError: Slurm refuses the job.
        """
        note = task.run.with_name(f"{task.run.name}.slurm")
        job = self._earlier(note)
        if job is None:
            make_folder(self.executor.folder.parent)
            make_folder(self.executor.folder)
            try:
                job = self.executor.submit(Submission(task))
            except RuntimeError as error:  # of submitit
                reason = on_one_line(error)
                raise RunFolderError(
                    f"{task.run}: Slurm refused the job: {reason}. Resume as it is, or with other values: one --slurm then replaces all."
                ) from error
            if has_queue(self.executor):  # else the number is that of a process
                try:
                    replace_file(note, f"{job.job_id} {self.executor.folder.name}\n")
                except OSError:
                    job.cancel()  # without its note a resumed sweep would put it into the queue a second time
                    raise
        self._queued.append(Queued(job, task.log))
        return self._queued[-1]

    def farewell(self) -> str:
        left = [each.job.job_id for each in self._queued if each.poll() is None]
        stay, cancel = ("stay in the queue, and resuming finds them there", "scancel") if has_queue(self.executor) else ("go on", "kill")
        return f"{len(left)} jobs {stay}. To stop them, saved: {cancel} {' '.join(left)}" if left else ""

    def _earlier(self, note: Path) -> SlurmJob | None:
        return found_again(self.executor.folder.parent, note) if note.exists() else None


def found_again(folder: Path, note: Path) -> SlurmJob | None:
    """The job that a note names, if it has not ended.

    Args:
        folder: of submitit.

    Raises:
        RunFolderError: the note names none.
    """
    try:
        words = read_regular(note, 100).decode().strip()
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{note} is refused: {said(error)}; remove it to go on") from None
    if not (found := re.fullmatch(r"(\d+(?:_\d+)?)(?: ([0-9a-f]{16}))?", words, re.ASCII)):
        raise RunFolderError(f"{note} names no job of Slurm; remove it to go on")
    job = submitit().SlurmJob(folder=folder / (found[2] or ""), job_id=found[1])  # older notes name no folder
    return None if job.done(force_check=True) or lost(job) else job


def queued(folder: Path, note: Path) -> bool:
    """Whether the job that a note names may still be in the queue; true where nobody can tell.

    Args:
        folder: of submitit.
    """
    try:
        return found_again(folder, note) is not None
    except (ConfigError, RunFolderError, OSError, RuntimeError, subprocess.SubprocessError):
        return True


def lost(job: SlurmJob) -> bool:
    """Whether a job without an answer is in no queue. Only that tells where the cluster keeps no accounts: `sacct` knows no state then."""
    if job.state != "UNKNOWN":
        return False
    try:
        result_of = subprocess.run(["squeue", "-h", "-j", job.job_id, "-o", "%T"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return not result_of.stdout.strip() and (result_of.returncode == 0 or "Invalid job id" in result_of.stderr)


class PlainValues(pickle.Unpickler):
    """Reader of a pickle of numbers and texts. One that names a class or a function, which it would call, is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def result_of(job: SlurmJob) -> tuple[int, str]:
    """Exit code of a job that has ended, and words for its log if it has none of its own. It is not asked of submitit, which unpickles
    whatever lies in the folder."""
    file, asked = Path(job.paths.result_pickle), time.monotonic()
    while not file.exists() and time.monotonic() < asked + RESULT_WAIT:
        time.sleep(1.0)
    try:
        kind, value = PlainValues(io.BytesIO(read_regular(file, RESULT_LIMIT))).load()
    except FileNotFoundError:
        return FAILED, f"Slurm has ended job {job.job_id}, and it left no answer: it was cancelled, or its node failed."
    except Exception as error:  # a damaged pickle raises anything
        return FAILED, f"{file} is no answer of a job: {error}"
    return (value, "") if kind == "success" and type(value) is int else (FAILED, f"job {job.job_id} failed: {value}")


class Queued:
    def __init__(self, job: SlurmJob, log: Path):
        self.job, self.log = job, log
        self._next, self._missed = time.monotonic() + AGAIN, 0
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:  # a job that has ended is asked for its answer, and waited for, once
            self._code = self._ended() if self.job.done() else self._lost()
        return self._code

    def _ended(self) -> int:
        code, words = result_of(self.job)
        if words:
            with appending(self.log) as file:
                file.write(f"\n{words}\n")
        return code

    def _lost(self) -> int | None:
        """`FAILED` once the queue has lacked the job twice: between two looks it might have ended, with an answer that is on its way."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + AGAIN
        self._missed = self._missed + 1 if lost(self.job) else 0
        if self._missed < 2:
            return None
        with appending(self.log) as file:
            file.write(f"\nSlurm has no job {self.job.job_id} any more, and it left no answer: it was cancelled, or its node failed.\n")
        return FAILED

    def stop(self) -> None:
        """A cluster's jobs outlive the sweep."""

    def kill(self) -> None:
        """As `stop`."""


class Submission:
    """What submitit pickles and calls on a node."""

    def __init__(self, task: Task):
        self.task = task
        self.process: subprocess.Popen | None = None

    def __call__(self) -> int:
        self.process = process = self.task.begin()
        signal.signal(signal.SIGTERM, lambda *_: stop(process))  # scancel
        code = wait(process)
        if code == STOPPED:
            time.sleep(1.0)  # Slurm signals the run and this process: the handler that requeues may be a moment late
        return code

    def checkpoint(self) -> Any:
        """Called by the signal handler of submitit, in the middle of `wait`."""
        if self.process is not None:
            try:
                os.kill(self.process.pid, signal.SIGUSR2)
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)  # not wait(), whose lock the interrupted code may hold
            except (ProcessLookupError, ChildProcessError):  # it has ended
                pass
        return submitit().helpers.DelayedSubmission(Submission(self.task))
