"""Where jobs run: the protocol of the launchers, and the one of this machine."""

from __future__ import annotations

import subprocess
from typing import Protocol

from deeprl.tools.sweep.process import Task, stop


class LaunchedJob(Protocol):
    """A job that was handed to a launcher."""

    def poll(self) -> int | None:
        """Exit code of the job; None until it has ended."""
        ...

    def stop(self) -> None:
        """Stop it at its next step, saved."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...


class Launcher(Protocol):
    slots: int | None
    """Jobs side by side; None: the launcher has a queue of its own."""
    stays: bool
    """Whether jobs go on when the sweep is stopped, because they belong to a cluster."""
    near: bool
    """Whether jobs run on this machine, which sees at once what they write."""
    pause: float
    """Seconds between two looks at the jobs."""

    def start(self, task: Task) -> LaunchedJob: ...

    def farewell(self) -> str:
        """What the user should know about this launcher when the sweep ends. It releases what the launcher holds."""
        ...


class Local:
    """Processes of this machine."""

    stays, near, pause = False, True, 0.2

    def __init__(self, slots: int):
        self.slots: int | None = slots

    def start(self, task: Task) -> LaunchedJob:
        return Process(task.begin())

    def farewell(self) -> str:
        return ""


class Process:
    def __init__(self, process: subprocess.Popen):
        self.process = process

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        stop(self.process)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
