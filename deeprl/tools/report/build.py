"""From run folders to a report: index.html, its figures as PNG, its numbers as CSV."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import deeprl
from deeprl.errors import ConfigError, RunFolderError
from deeprl.system.files import opened, replace_file
from deeprl.system.machine import now
from deeprl.system.tables import csv_bytes
from deeprl.tools.report import figures
from deeprl.tools.report.groups import UNIMPORTANT, differences, grouped
from deeprl.tools.report.page import VIEWS, render
from deeprl.tools.report.problems import problems
from deeprl.tools.report.results import AXES, Results, Row
from deeprl.tools.report.runs import find, read_all
from deeprl.tools.report.stored import is_stored, read_files

PAGE = "index.html"
MARK = b'<meta name="generator" content="deeprl report">'
"""A page with it in its first bytes is ours and may be replaced."""
UNFINISHED = b"<!doctype html>" + MARK + b"<p>This report was not finished. Its command makes it again.</p>"
OPTIONAL = {"profile.png"}
"""Files that some reports lack; tables without rows are empty files."""
CURVES = dict(zip(AXES, VIEWS))
TABLES: dict[str, Callable[[Results], Iterable[Row]]] = {
    "evaluations.csv": Results.evaluations,
    "curve_means.csv": Results.means,
    "scores.csv": Results.scores,
    "summary.csv": Results.summary,
    "numbers.csv": Results.numbers,
    "aggregates.csv": Results.aggregates,
    "profiles.csv": Results.profiles,
    "improvement.csv": lambda results: results.improvements,
}
WRITTEN = frozenset({PAGE, *CURVES.values(), "intervals.png", *OPTIONAL, *TABLES})
"""Every file that a report may write or remove."""


def build(folders: Sequence[Path], out: Path, keys: Sequence[str] | None, names: Sequence[str] | None, command: str) -> list[str]:
    """Write a report on all runs in and below `folders` into the folder `out`.

    Args:
        folders: folders of runs, and files of stored lines (`deeprl.tools.report.stored`).
        keys: of the configuration; runs with equal values are a group. None: groups are inferred.
        names: of the groups, in their order. None: they are named by their keys.
        command: as it stands on the page.

    Returns:
        what a reader must know about the runs, one sentence each; the page says it too.

    Raises:
        ConfigError: no folder holds a run; a key or the number of names is wrong; `out` holds something else.
        RunFolderError: no run can be read, or none was evaluated yet.
    """
    notes: list[str] = []
    claim(out)
    files = [path for path in folders if is_stored(path)]
    paths = find((path for path in folders if path not in files), notes.append)
    if not paths and not files:
        notes += [f"files of stored runs are named one by one, as in {folder}/*.json" for folder in folders if any(folder.glob("*.json"))]
        raise ConfigError(f"no run was found: {'; '.join(notes)}")
    runs = [*read_all(paths, notes.append), *read_files(files, notes.append)]
    if not any(run.final for run in runs):
        raise RunFolderError("; ".join([*notes, *(f"{run.name} has no evaluation yet" for run in runs)]))
    groups = grouped(runs, keys)
    if names is not None:
        groups = named(groups, names)
    settings = differences(groups)
    notes += problems(groups, settings)
    results = Results(groups)
    images = {file: figures.curves(results, axis) for axis, file in CURVES.items()} | {"intervals.png": figures.intervals(results)}
    if results.everywhere:
        images["profile.png"] = figures.profiles(results)
    made = {
        "command": command,
        "version": deeprl.__version__,
        "time": now(),
        "ignored": ", ".join(UNIMPORTANT),
        "grouping": f"; here groups are set by --group {','.join(keys)}" if keys else "",
    }
    numbers = {file: table(rows(results)) for file, rows in TABLES.items()}
    write(out, {**images, **numbers, PAGE: render(results, settings, notes, images, made).encode()})
    return notes


def claim(out: Path, mark: bytes = MARK, written: frozenset[str] = WRITTEN) -> None:
    """
    Args:
        mark: in the first bytes of a page of ours.
        written: every file that may be replaced where such a page is.

    Raises:
        ConfigError: `out` is a file, or holds no report but files with the names of one.
    """
    page = out / PAGE
    with contextlib.suppress(OSError), opened(page) as file:
        if mark in file.read(1000):
            return
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is no folder. Name another one.")
    if taken := written & {entry.name for entry in (out.iterdir() if out.exists() else ())}:
        names = ", ".join(sorted(taken))
        raise ConfigError(f"--out {out} is no report of deeprl, but holds {names}, which would be lost. Name another folder.")


def named(groups: dict[str, list], names: Sequence[str]) -> dict[str, list]:
    """
    Raises:
        ConfigError: there are not as many different names as groups.
    """
    if len(set(names)) != len(groups) or len(names) != len(groups):
        raise ConfigError(f"--names takes {len(groups)} different names, for these groups in this order: {'; '.join(groups)}")
    return dict(zip(names, groups.values()))


def table(rows: Iterable[Row]) -> bytes:
    """Rows as CSV. Without rows the file is empty."""
    found = list(rows)
    return csv_bytes(list(found[0]), (list(row.values()) for row in found)) if found else b""


def write(out: Path, files: dict[str, bytes], optional: set[str] = OPTIONAL, unfinished: bytes = UNFINISHED) -> None:
    """Write the files, the page last, and remove those of an earlier report that are not among them. A report that is killed leaves a page
    with the mark too, so that the same command may write it again.

    Args:
        optional: files that an earlier report may have had.
        unfinished: the page until the real one is written.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in optional - {*files}:
            (out / name).unlink(missing_ok=True)
        if not (out / PAGE).exists():
            replace_file(out / PAGE, unfinished)
        for name, content in files.items():
            replace_file(out / name, content)
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}. Name another folder.") from error
