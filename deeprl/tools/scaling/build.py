"""From run folders to a page on scaling: index.html, laws.png, scaling.json."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deeprl.errors import ConfigError, RunFolderError
from deeprl.running.config.folders import packages
from deeprl.running.config.overrides import key_of
from deeprl.running.runs.folder import RunFolder
from deeprl.system.strict_json import JsonObject
from deeprl.tools.report.build import PAGE, claim, write
from deeprl.tools.report.runs import RunRecord, find, read_all
from deeprl.tools.scaling.cells import BATCH, RATIO, Cell, Note, cells
from deeprl.tools.scaling.fits import frontier, operations
from deeprl.tools.scaling.next_run import NextRun, next_run
from deeprl.tools.scaling.page import ends, figure, of_budget, render, span, whole
from deeprl.tools.scaling.returns import NeverReachedError
from deeprl.tools.scaling.speed import StepTime, pace
from deeprl.tools.scaling.study import BEYOND, Level, Study, study

MARK = b'<meta name="generator" content="deeprl scaling">'
FIGURE, NUMBERS = "laws.png", "scaling.json"
LEFT_OUT = " characters are left out "
"""In a command that was too long for system.json"""
UNFINISHED = b"<!doctype html>" + MARK + b"<p>This page was not finished. Its command makes it again.</p>"


class Asked(NamedTuple):
    """Words of the command."""

    rate: str
    """Key of the learning rate"""
    returns: Sequence[float] | None
    """Thresholds J; None: chosen between what all ratios reach"""
    hours: float | None
    """Budget of the next run; None: no limit"""
    parameters: Sequence[float] | None
    """Of all networks, for operations, one for each size; None: they are not told, and counted where there are several sizes"""
    here: bool
    """Hours are those of this machine, which is measured; otherwise of the machines of the runs"""
    allow: Sequence[str]
    """Packages that the configuration of the runs may name, if it is measured"""
    command: str
    size: str | None = None
    """Key of the size of networks; None: all have the same"""


class Made(NamedTuple):
    """A page that was written."""

    found: Study
    best: NextRun | None
    """The next run; None: neither a law nor a cell of the grid names one"""
    words: str | None
    """Those of the next run for a terminal"""


def build(folders: Sequence[Path], out: Path, asked: Asked) -> tuple[list[str], str | None]:
    """Write the page on all runs in and below `folders` into the folder `out`.

    Returns:
        what a reader must know, a sentence each, and the words of the next run; None: neither a law nor a cell of the grid names one.

    Raises:
        ConfigError: the runs are no grid; no run reaches a threshold; `out` holds something else.
        RunFolderError: a folder cannot be read.
    """
    notes: list[str] = []
    runs = runs_in(folders, notes.append)
    if asked.parameters and len(asked.parameters) > 1:
        raise ConfigError("--parameters takes one number, because the networks of a grid without --size are of one size.")
    try:
        return notes, page_of(runs, out, asked, notes).words
    except ConfigError as error:  # which may come of the runs that were left out
        raise ConfigError(" ".join([str(error), *(f"Note: {note}." for note in notes)])) from error


def runs_in(folders: Sequence[Path], note: Note) -> list[RunRecord]:
    """
    Raises:
        ConfigError: there is none.
    """
    said: list[str] = []
    runs = read_all(find(folders, said.append), said.append)
    if not runs:
        raise ConfigError(f"no run was found: {'; '.join(said)}")
    for each in said:
        note(each)
    return runs


def page_of(runs: Sequence[RunRecord], out: Path, asked: Asked, notes: list[str], label: str = "") -> Made:
    """Write the page on runs with networks of one size.

    Args:
        notes: those that are known; its own are appended.
        label: what its title adds.

    Raises:
        ConfigError: see `build`.
    """
    claim(out, MARK, frozenset({PAGE, FIGURE, NUMBERS}))
    table, tied = cells(runs, asked.rate, notes.append)
    speed, machine = measure_here(runs[0], table, asked.allow, notes.append) if asked.here else (None, None)
    try:
        found = study(table, asked.returns, speed=speed)
    except NeverReachedError as error:
        raise ConfigError(str(error)) from error
    notes += found.notes
    best, parameters = next_run(found, asked.hours), asked.parameters[0] if asked.parameters else None
    words = spelled(best, runs[0], (asked.rate, *tied), notes.append) if best else None
    rows, ahead, image = cell_rows(table, found, parameters), frontier_rows(found), figure(found)
    clock = {"here": machine, "grid": pace(table), "machines": sorted({run.machines[-1].hardware for run in runs if run.machines})}
    facts = {"clock": clock, "task": runs[0].task, "agent": runs[0].agent, "runs": sum(len(each.returns) for each in table), "label": label}
    facts |= {"next": best, "words": words, "hours": asked.hours, "parameters": parameters, "command": asked.command}
    page = render(found, rows, ahead, facts, notes, image)
    numbers = json.dumps(plain(numbers_of(found, rows, ahead, clock, best, notes)), indent=1, allow_nan=False)
    write(out, {FIGURE: image, NUMBERS: numbers.encode(), PAGE: page.encode()}, set(), UNFINISHED)
    return Made(found, best, told(best, words, clock) if best and words else None)


def measure_here(run: RunRecord, table: Sequence[Cell], allow: Sequence[str], note: Note) -> tuple[StepTime, str]:
    """See `measured`. It is imported here because it imports all that trains."""
    from deeprl.tools.scaling.here import measured

    return measured(run, [each.batch for each in table], packages(*allow), note)


def told(best: NextRun, words: str, clock: JsonObject) -> str:
    """The next run for a terminal: its words, and below them what it takes."""
    speed = f"measured here, {clock['here']}" if clock["here"] else f"of the grid's runs, {'; '.join(clock['machines'])}"
    steps, hours, what = f"{whole(best.steps)} steps", span(best.hours), "every cell has one seed"
    if np.isfinite(best.intervals["steps"]).all():
        steps, hours = (
            f"{said} {ends(best.intervals[name], shown)}" for said, name, shown in ((steps, "steps", whole), (hours, "hours", span))
        )
        what = "95 % over bootstrap samples of the seeds"
    if best.observed:
        what = "observed"
    remark = best.remark and f". {best.remark}"
    return f"{words}\na return of {best.threshold:.4g} in {steps}, {hours} ({what}; speed {speed}){remark}"


def spelled(best: NextRun, run: RunRecord, rates: Sequence[str], note: Note) -> str:
    """Settings as words of `deeprl train`: those of the run's own command, which has what else is no default, and behind them the best.

    Args:
        run: one of the grid.
        rates: keys of the learning rate.
        note: takes a sentence if no such command is known.
    """
    values = {RATIO: f"{best.ratio:.3g}", BATCH: f"{best.batch_size:.0f}"}
    values |= dict.fromkeys(rates, f"{best.rate:.3g}") | {"steps": f"{best.steps:.0f}"}
    words = typed(run)
    if words is None:
        note(
            f"{run.name} tells no command of deeprl train: the words of the next run name agent and environment, but not what else was set"
        )
        words = [f"agent={run.agent}", f"env={run.task}"]
    own = (*values, "seed", "resume", "hydra.run.dir")
    return shlex.join([*(word for word in words if key_of(word) not in own), *(f"{key}={value}" for key, value in values.items())])


def typed(run: RunRecord) -> list[str] | None:
    """The words behind `deeprl train` that started a run; None if they are not known, as of a run from Python."""
    try:
        command = (RunFolder(run.path).read_system() or [{}])[0].get("command")
        first, *words = shlex.split(command) if isinstance(command, str) and LEFT_OUT not in command else [""]
    except (RunFolderError, ValueError):  # a damaged file; a quote without its other
        return None
    if words[:1] == ["train"]:
        return words[1:]
    return words if Path(first).name == "train.py" else None


def cell_rows(table: Sequence[Cell], found: Study, parameters: float | None) -> list[JsonObject]:
    """A row for each cell: the data to every return, and whether it is on the frontier of data and samples at the highest."""
    thresholds = [level.threshold for level in found.levels]
    data = np.array([[each.data(threshold) for threshold in thresholds] for each in table])
    samples = np.maximum(data[:, -1] - found.starts, 0.0) * [each.sigma * each.batch for each in table]
    kept = ~np.isnan(data[:, -1])
    front = np.zeros(len(table), bool)
    front[kept] = frontier(data[kept, -1], samples[kept])
    spent = operations(parameters or np.nan, 1.0, 1.0, samples)
    return [
        {
            "sigma": each.sigma,
            "batch": each.batch,
            "rate": each.rate,
            "seeds": len(each.returns),
            "last": float(each.returns[:, -1].mean()),
            "data": row.tolist(),
            "operations": float(cost),
            "frontier": bool(on),
        }
        for each, row, cost, on in zip(table, data, spent, front)
    ]


def frontier_rows(found: Study) -> list[JsonObject]:
    """A row for each return: steps and hours by the laws, with intervals, at the ratios of the grid, at 2 and at `BEYOND` times the
    largest, and the ratio of the fewest hours. A law that is not extrapolated is asked in the grid alone."""
    inside = found.levels[0].sigma
    return [
        frontier_row(found, level, inside if level.doubt else np.append(inside, [2 * inside[-1], BEYOND * inside[-1]]))
        for level in found.levels
    ]


def frontier_row(found: Study, level: Level, sigma: np.ndarray) -> JsonObject:
    columns = {
        "sigma": sigma,
        "steps": found.data(level, sigma),
        "hours": found.cost(level, sigma),
        "steps_interval": found.interval(level, lambda one, it: one.data(it, sigma)).T,
        "hours_interval": found.interval(level, lambda one, it: one.cost(it, sigma)).T,
    }
    row = {"return": level.threshold, "places": [dict(zip(columns, place)) for place in zip(*columns.values())], "cheapest": None}
    if found.pace.known and not level.doubt:
        ratio, hours = found.best_ratio(level)
        times = found.interval(level, lambda one, it: one.best_ratio(it)[1])
        row["cheapest"] = {"sigma": ratio, "hours": hours, "sigma_interval": found.ratio_interval(level), "hours_interval": times}
    return row


def numbers_of(
    found: Study, rows: list[JsonObject], ahead: list[JsonObject], clock: JsonObject, best: NextRun | None, notes: list[str]
) -> JsonObject:
    """All that the page says."""
    growth = of_budget(found)
    return {
        "settings": {each.name: {**asdict(each), "law": each.law and each.law._asdict()} for each in (found.batch, found.rate)},
        "levels": [{**asdict(each), "law": each.law and each.law._asdict()} for each in found.levels],
        "pace": asdict(found.pace),
        "clock": {**clock, "grid": asdict(clock["grid"])},
        "best_ratio": growth and growth._asdict(),
        "samples": len(found.samples),
        "starts": found.starts,
        "frontier": ahead,
        "next": best and best.json(),
        "cells": rows,
        "notes": notes,
    }


def plain(value: object) -> object:
    """Arrays as lists, and null for what is not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
