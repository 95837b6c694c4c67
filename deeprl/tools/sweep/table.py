"""What a sweep shows: a live table on a terminal, elsewhere a line when a job starts or ends, and a summary from time to time."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TextIO

from deeprl.errors import FINISHED, STOPPED, RunFolderError
from deeprl.system.progress import duration
from deeprl.system.terminal import console, is_terminal, printable, say
from deeprl.tools.sweep.folder import SweepFolder
from deeprl.tools.sweep.grid import Job
from deeprl.tools.sweep.job_status import JobStatus, look

ORDER = ("running", "starting", "queued", "failed", "stopped", "waiting", "finished")
"""States in the order of the table: what a reader looks for comes first."""


class JobRow(NamedTuple):
    job: str
    standing: JobStatus
    steps: int
    """Steps of the whole job."""

    @property
    def left(self) -> float | None:
        """Seconds that this job still needs, from its own speed."""
        return (self.steps - self.standing.step) / self.standing.speed if self.standing.speed else None


class TableView:
    """
    Args:
        steps: of each job, by name, as far as they are known: a finished job has reached its own.
        slots: jobs side by side; None if a cluster decides.
        stream: stderr if None.
        live: a table (True) or lines (False); by default a table on a terminal.
    """

    def __init__(
        self,
        folder: SweepFolder,
        steps: Mapping[str, int],
        slots: int | None,
        stream: TextIO | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.folder, self.steps, self.slots, self.clock = folder, steps, slots, clock
        self.stream = sys.stderr if stream is None else stream
        self._ended: dict[str, JobStatus] = {}
        self._shown: dict[str, str] = {}
        self._next = 0.0
        self._live: Any = None
        if live if live is not None else is_terminal(self.stream):
            from rich.live import Live

            self._live = Live(console=console(self.stream), auto_refresh=False, transient=False)
            self._draw(self._live.start)

    def update(self, running: Collection[str], codes: Mapping[str, int]) -> None:
        """
        Args:
            running: jobs that were handed to a launcher and have not ended.
            codes: exit codes of those that have.
        """
        states = {job.name: "running" if job.name in running else str(codes.get(job.name)) for job in self.folder.jobs}
        now = self.clock()
        if states == self._shown and now < self._next:
            return
        rows = self.rows(running, codes)
        if self._live is not None:
            self._next = now + 1.0
            self._draw(lambda: self._live.update(table(rows, self.summary(rows), self._live.console.height - 6), refresh=True))
        else:
            for row in rows:
                if states[row.job] != self._shown.get(row.job, "None"):
                    say(sentence(row) if row.job in codes else f"{row.job}: started", self.stream)
            if self._shown and now >= self._next:
                say(self.summary(rows), self.stream)
            self._next = now + 60.0
        self._shown = states

    def rows(self, running: Collection[str] = (), codes: Mapping[str, int] | None = None) -> list[JobRow]:
        found = {job.name: self._standing(job, job.name in running, (codes or {}).get(job.name)) for job in self.folder.jobs}
        return [JobRow(name, standing, self.steps.get(name, standing.step)) for name, standing in found.items()]

    def close(self) -> None:
        if self._live is not None:
            self._draw(self._live.stop)
            self._live = None

    def summary(self, rows: list[JobRow]) -> str:
        """Jobs by state, and the time that all of them still need."""
        counts = Counter(row.standing.state for row in rows)
        words = [f"{counts[state]} {state}" for state in ORDER if counts[state]]
        left = remaining(rows, self.slots)
        return ", ".join(words) + (f"; {duration(left)} left" if left else "")

    def _standing(self, job: Job, running: bool, code: int | None) -> JobStatus:
        """What is true now: the run folder may still hold the end of an earlier process."""
        if job.name in self._ended:
            return self._ended[job.name]
        try:
            found = look(self.folder.run(job))
        except RunFolderError:
            found = JobStatus("failed")
        if running:
            now = ("running", "finished")  # a finished job is never started, so that its process is about to end
            return found if found.state in now else found._replace(state="queued" if self.slots is None else "starting")
        if code is None and found.state != "finished":
            return found._replace(state="waiting")
        if code is not None:
            found = found._replace(state={FINISHED: "finished", STOPPED: "stopped"}.get(code, "failed"))
        self._ended[job.name] = found  # a job that has ended is not read again
        return found

    def _draw(self, change: Callable[[], object]) -> None:
        """If the terminal is gone, nothing is shown any more, and the sweep goes on."""
        try:
            change()
        except (OSError, ValueError):
            self._live, self._next = None, float("inf")


def remaining(rows: list[JobRow], slots: int | None) -> float | None:
    """Seconds until the last job ends, if jobs without a speed of their own get the mean speed; None if no job has a speed."""
    unfinished = [row for row in rows if row.standing.state in ("running", "starting", "queued", "waiting")]
    speeds = [row.standing.speed for row in rows if row.standing.speed]
    if not unfinished or not speeds:
        return None
    mean = sum(speeds) / len(speeds)
    each = [row.left if row.left is not None else (row.steps - row.standing.step) / mean for row in unfinished]
    return max(max(each), sum(each) / min(slots or len(each), len(each)))


def sentence(row: JobRow) -> str:
    returned = "" if row.standing.returned is None else f", return {row.standing.returned:.4g}"
    return f"{row.job}: {row.standing.state} at step {row.standing.step:,}{returned}"


def table(rows: list[JobRow], summary: str, most: int) -> Any:
    """
    Args:
        most: rows that are shown, because a table that is higher than the terminal cannot be drawn again.
    """
    from rich.table import Table

    drawn = Table(caption=summary, box=None, pad_edge=False)
    for name in ("job", "state", "step", "of", "return", "steps/s", "left"):
        drawn.add_column(name, justify="left" if name in ("job", "state") else "right", overflow="fold" if name == "job" else "ellipsis")
    ranked = sorted(rows, key=lambda row: ORDER.index(row.standing.state))  # stable
    for row in ranked[: max(most, 1)]:
        state, step, speed, returned = row.standing
        left = duration(row.left) if row.left and state == "running" else ""
        numbers = ["" if returned is None else f"{returned:.4g}", f"{speed:,.0f}" if speed else "", left]
        drawn.add_row(printable(row.job), state, f"{step:,}", f"{row.steps:,}", *numbers)
    if len(ranked) > most:
        drawn.add_row(f"and {len(ranked) - max(most, 1)} more")
    return drawn
