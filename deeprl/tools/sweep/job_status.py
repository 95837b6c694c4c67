"""How far a job is, read from its run folder alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from deeprl.running.runs.folder import RunFolder
from deeprl.system.files import tail
from deeprl.system.strict_json import JsonObject, strict_json

TAIL = 1 << 16
"""Bytes at the end of metrics.jsonl that hold the newest value of each metric."""


class JobStatus(NamedTuple):
    state: str = "waiting"
    """waiting, or the state of status.json."""
    step: int = 0
    speed: float | None = None
    """Environment steps a second."""
    returned: float | None = None
    """Mean return of the last training episodes; of a finished run, of its final evaluation."""


def look(run: Path) -> JobStatus:
    """
    Raises:
        RunFolderError: a file of the run folder is damaged.
    """
    folder = RunFolder(run)
    status = folder.read_status()
    if status is None:
        return JobStatus()
    if status["state"] == "finished":
        summary = folder.read_summary() or {}
        final = summary.get("final")
        mean = final.get("mean") if isinstance(final, dict) else None
        return JobStatus("finished", status["step"], number(summary.get("steps_per_second")), number(mean))
    newest = latest(run / "metrics.jsonl")
    step = max(status["step"], newest.get("step", 0))
    return JobStatus(status["state"], step, number(newest.get("time/fps")), number(newest.get("rollout/ep_rew_mean")))


def number(value: Any) -> float | None:
    """A number from a file; None if it is none."""
    return value if type(value) in (int, float) else None


def latest(path: Path) -> JsonObject:
    """The newest value of each metric near the end of a file."""
    found: JsonObject = {}
    with contextlib.suppress(OSError):
        for line in tail(path, TAIL).splitlines(keepends=True):
            with contextlib.suppress(ValueError):  # cut off at either end
                entry = strict_json(line)
                if line.endswith(b"\n") and isinstance(entry, dict) and isinstance(entry.get("step"), (int, float)):
                    found |= {name: value for name, value in entry.items() if value is not None}
    return found
