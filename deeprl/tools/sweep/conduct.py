"""The loop of a sweep or a study: start what is waiting, look at what runs, and stop everything saved at a signal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from deeprl.errors import FAILED, FINISHED, STOPPED, RunFolderError
from deeprl.system.files import appending
from deeprl.system.signals import HANDLED, Signals
from deeprl.tools.sweep.folder import SweepFolder
from deeprl.tools.sweep.grid import Job
from deeprl.tools.sweep.job_status import look
from deeprl.tools.sweep.launcher import LaunchedJob, Launcher
from deeprl.tools.sweep.process import Task
from deeprl.tools.sweep.table import TableView

EARLY = {-number for number in HANDLED}
"""Codes of a process that a signal met before it could handle one: it had nothing to save."""


Watch = Callable[[Mapping[str, LaunchedJob], Mapping[str, int]], object]
"""Called with the jobs that run, which it may stop, and with the exit codes of those that have ended."""


def confirmed(folder: SweepFolder, name: str) -> int:
    """The exit code of a job whose process ended with 0: `FAILED` if its run is not finished, because an environment ended the process."""
    run = folder.path / name
    try:
        if look(run).state == "finished":
            return FINISHED
    except RunFolderError:
        pass
    with appending(run.with_name(f"{name}.log")) as log:
        log.write("\nthe process ended with 0 before the run was finished\n")
    return FAILED


def conduct(
    folder: SweepFolder,
    jobs: Iterable[Job],
    launcher: Launcher,
    signals: Signals,
    view: TableView,
    watch: Watch = lambda running, codes: None,
) -> dict[str, int]:
    """Run jobs until all have ended or a signal came. A job that fails does not stop the others.

    Args:
        jobs: each is taken when there is a slot for it, so that a generator may decide it from what has ended by then.
        watch: called at every look at the jobs.

    Returns:
        the exit code of every job that ended.

    Raises:
        KeyboardInterrupt: a second Ctrl-C. The jobs have been killed.
        OSError: a job could not be started, because the disk is full, say. The others have been asked to stop, saved.
    """
    waiting, running, codes = iter(jobs), dict[str, LaunchedJob](), dict[str, int]()
    more, stopping = True, False
    try:
        while more or running:
            if signals.stop and not stopping:
                more, stopping = False, True
                if launcher.stays:
                    break
                for each in running.values():
                    each.stop()
            while more and (launcher.slots is None or len(running) < launcher.slots) and not signals.stop:
                if (job := next(waiting, None)) is None:
                    more = False
                    break
                task = Task(job.overrides, folder.run(job), folder.log(job), Path(folder.cwd), folder.config_dir)
                running[job.name] = launcher.start(task)
            for name, each in list(running.items()):
                if (code := each.poll()) is not None:
                    if code == FINISHED and launcher.near:
                        code = confirmed(folder, name)
                    codes[name] = STOPPED if signals.stop and code in EARLY else code
                    del running[name]
            watch(running, codes)
            view.update(running, codes)
            if running:
                time.sleep(launcher.pause)
    except BaseException as error:
        if not launcher.stays:
            for each in running.values():
                if isinstance(error, KeyboardInterrupt):
                    each.kill()
                else:
                    each.stop()
        raise
    return codes
