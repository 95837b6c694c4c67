"""`deeprl status [DIR...]`: a line for each run: its state, how far it is, what it returns, and what a kill would cost now."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from deeprl.cli.arguments import counting
from deeprl.errors import RunFolderError
from deeprl.running.runs.folder import RunFolder, holder
from deeprl.running.runs.places import find_runs
from deeprl.system.progress import duration, significant
from deeprl.system.terminal import clear, one_line, print_result, say
from deeprl.tools.sweep.job_status import look

UNHELD = "no process"
HEADS = ("run", "state", "step", "of", "return", "steps/s", "left", "saved at")


class StatusRow(NamedTuple):
    cells: tuple[str, ...]
    """A text for each of `HEADS`"""
    state: str
    remark: str = ""
    """A sentence below the table"""
    facts: Mapping[str, object] = MappingProxyType({})
    """The row for programs"""


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "run folders, and folders above several (default: runs)"
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("runs")], metavar="DIR", help=text)
    text = "again every so many seconds (10, if none are named), until Ctrl-C"
    parser.add_argument("--json", action="store_true", help="print one JSON object a run, for programs")
    parser.add_argument("--watch", nargs="?", type=counting, const=10, metavar="SECONDS", help=text)


def run(options: argparse.Namespace) -> int:
    while options.watch:
        clear()
        show(options.folders, options.json)
        time.sleep(options.watch)
    return show(options.folders, options.json)


def show(folders: list[Path], json_lines: bool = False) -> int:
    """The table of all runs in and below folders, or a line of JSON for each."""
    paths: dict[Path, Path] = {}
    for folder in folders:
        try:
            paths |= {path.resolve(): path for path in find_runs(folder)}
        except RunFolderError as error:
            if len(folders) == 1:
                raise
            say(str(error))
    if not paths:
        raise RunFolderError(f"{', '.join(map(str, folders))}: no run folder is there")
    rows = [row_of(path) for path in paths.values()]
    print_result("\n".join([json.dumps(dict(row.facts)) for row in rows] if json_lines else table([row.cells for row in rows])))
    for row in rows:
        if row.remark:
            say(row.remark)
    if any(row.state == UNHELD for row in rows):
        say(f"{UNHELD}: status.json says running, but no process of this machine holds the folder: it was killed, or runs elsewhere")
    return 0


def row_of(path: Path) -> StatusRow:
    """A damaged run folder has a row too."""
    try:
        folder = RunFolder(path)
        steps, status, standing = folder.read_config().get("steps"), folder.read_status() or {}, look(path)
    except RunFolderError as error:
        cells = (one_line(str(path)), "unreadable", *[""] * (len(HEADS) - 2))
        return StatusRow(cells, "unreadable", str(error), {"run": str(path), "state": "unreadable", "error": str(error)})
    state = UNHELD if standing.state == "running" and holder(path) is None else standing.state
    seconds = None
    if state == "running" and standing.speed and isinstance(steps, int):
        seconds = max(steps - standing.step, 0) / standing.speed
    newest, age = saved(path)
    cells = (
        one_line(str(path)),
        state,
        f"{standing.step:,}",
        f"{steps:,}" if isinstance(steps, int) else "",
        "" if standing.returned is None else significant(standing.returned),
        f"{standing.speed:,.0f}" if standing.speed else "",
        "" if seconds is None else duration(seconds),
        "never" if newest is None else f"{newest:,}" + ("" if age is None else f", {duration(age)} ago"),
    )
    failed = status.get("error") if state == "failed" else None
    facts: Mapping[str, object] = {
        "run": str(path), "state": state, "step": standing.step, "steps": steps, "return": standing.returned,
        "steps_per_second": standing.speed, "seconds_left": seconds, "saved_step": newest, "saved_seconds_ago": age, "error": failed,
    }  # fmt: skip
    return StatusRow(cells, state, f"{path}: {failed}" if failed else "", facts)


def saved(path: Path) -> tuple[int | None, float | None]:
    """Step of the newest checkpoint, and its age in seconds."""
    from deeprl.running.runs.checkpoints import Checkpoints  # here, because it imports torch, and --help need not

    checkpoints = Checkpoints(path)
    if not (steps := checkpoints.steps()):
        return None, None
    try:
        written = checkpoints.at(steps[-1]).stat().st_mtime
    except OSError:  # replaced by a newer one meanwhile
        return steps[-1], None
    return steps[-1], max(time.time() - written, 0)


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines in columns: numbers to the right."""
    widths = [max(map(len, column)) for column in zip(HEADS, *rows)]
    return [
        "  ".join(f"{cell:<{width}}" if i in (0, 1) else f"{cell:>{width}}" for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in (HEADS, *rows)
    ]
