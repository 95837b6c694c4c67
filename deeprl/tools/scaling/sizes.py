"""A grid with networks of several sizes: a page on each size, and one that compares them: index.html, scaling.json, size_1/, size_2/, …"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeprl.errors import ConfigError
from deeprl.running.config.folders import packages
from deeprl.running.config.rules import get
from deeprl.system.files import opened
from deeprl.system.strict_json import JsonObject
from deeprl.tools.report.build import PAGE, claim, write
from deeprl.tools.report.groups import ABSENT, settings
from deeprl.tools.report.runs import RunRecord, number
from deeprl.tools.scaling.build import FIGURE, MARK, NUMBERS, UNFINISHED, Asked, Made, page_of, plain, runs_in
from deeprl.tools.scaling.cells import Note, cells, require_grid
from deeprl.tools.scaling.page import render_sizes
from deeprl.tools.scaling.returns import NeverReachedError, spread
from deeprl.tools.scaling.study import Level, comparable


class Size(NamedTuple):
    value: str
    """Of the key"""
    parameters: float
    """NaN: not known"""
    runs: list[RunRecord]


def build(folders: Sequence[Path], out: Path, asked: Asked) -> tuple[list[str], str | None]:
    """Write the pages on runs whose networks have several sizes, `asked.size`. As `deeprl.tools.scaling.build.build`, with the same
    returns for all sizes.

    Raises:
        ConfigError: as there, or not as many --parameters as sizes.
    """
    notes: list[str] = []
    assert asked.size is not None
    claim(out, MARK, frozenset({PAGE, NUMBERS}))
    sizes = sizes_of(runs_in(folders, notes.append), asked, notes.append)
    asked = asked._replace(returns=asked.returns or common_returns(sizes, asked.rate, notes.append))
    made: dict[str, Made] = {}
    for place, size in enumerate(sizes, 1):
        own: list[str] = []
        each = asked._replace(parameters=[size.parameters] if np.isfinite(size.parameters) else None)
        try:
            made[size.value] = page_of(size.runs, out / f"size_{place}", each, own, f"{asked.size}={size.value}")
        except ConfigError as error:
            own.append(f"left out: {error}")
        notes += [f"{asked.size}={size.value}: {note}" for note in own]
    if not made:
        raise ConfigError(f"no size has laws: {'; '.join(notes)}")
    rows = [row(place, size, made[size.value]) for place, size in enumerate(sizes, 1) if size.value in made]
    steps = budgets(rows)
    best = max(made.values(), key=lambda each: (each.best.threshold, -each.best.hours) if each.best else (-np.inf, 0.0))
    page = render_sizes(sizes[0].runs[0], rows, steps, asked._asdict(), best.words, notes)
    named = best.best and best.best.json()
    facts = {"size": asked.size, "sizes": rows, "budgets": steps, "next": named, "words": best.words, "notes": notes}
    write(out, {NUMBERS: json.dumps(plain(facts), indent=1, allow_nan=False).encode(), PAGE: page.encode()}, set(), UNFINISHED)
    remove_sizes(out, len(sizes))
    return notes, best.words


def remove_sizes(out: Path, most: int) -> None:
    """Remove pages of sizes that an earlier command wrote into `out`, and that this one does not replace: size_{most + 1} and above. Only
    our files go, and a folder with others stays with them."""
    for folder in out.glob("size_*"):
        place = folder.name.removeprefix("size_")
        if not (place.isdecimal() and int(place) > most and marked(folder)):
            continue
        for name in (FIGURE, NUMBERS, PAGE):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something else
            folder.rmdir()


def marked(folder: Path) -> bool:
    """Whether its page is one of this command."""
    if folder.is_symlink():  # what it leads to was not written there
        return False
    try:
        with opened(folder / PAGE) as file:
            return MARK in file.read(1000)
    except OSError:
        return False


def sizes_of(runs: Sequence[RunRecord], asked: Asked, note: Note) -> list[Size]:
    """Smallest first: by parameters, or by the numbers of the value where those are not known."""
    left = [run for run in runs if len(run.curve.step)]
    assert asked.size is not None
    if not any(asked.size in settings(run) for run in left):
        raise ConfigError(f"--size {asked.size}: no run has this key.")
    require_grid(left, asked.rate, asked.size)
    found: dict[str, list[RunRecord]] = {}
    for run in sorted(left, key=lambda run: widths(get(run.config, asked.size or ""))):
        found.setdefault(settings(run).get(asked.size, ABSENT), []).append(run)
    if asked.parameters is None:
        counts = [counted(each[0], asked.allow, note) for each in found.values()]
        order = lambda size: np.inf if np.isnan(size.parameters) else size.parameters  # noqa: E731
        return sorted((Size(value, count, each) for (value, each), count in zip(found.items(), counts)), key=order)
    if len(asked.parameters) != len(found):
        raise ConfigError(f"--parameters takes {len(found)} numbers, for {asked.size} of {'; '.join(found)} in this order.")
    return [Size(value, count, each) for (value, each), count in zip(found.items(), asked.parameters)]


def widths(value: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in (value if isinstance(value, list) else [value]) if number(each))


def counted(run: RunRecord, allow: Sequence[str], note: Note) -> float:
    """Trained parameters of a run's agent. It is imported here because it imports all that trains."""
    from deeprl.tools.scaling import here

    try:
        return float(here.counted(run, packages(*allow)))
    except ConfigError as error:
        note(f"the parameters of {run.name} are not counted, because its agent cannot be built (give them with --parameters): {error}")
        return float("nan")


def common_returns(sizes: Sequence[Size], rate: str, note: Note) -> list[float]:
    """Those of the size that comes highest, because a small network may never reach them.

    Args:
        note: takes a sentence if a run that ends early bounds them.

    Raises:
        ConfigError: nothing is learned at any size.
    """
    found: list[tuple[list[float], list[str]]] = []
    for size in sizes:
        own: list[str] = []
        try:
            found.append((spread(comparable(cells(size.runs, rate, lambda text: None)[0], lambda text: None), own.append), own))
        except NeverReachedError as error:
            said = str(error)
    if not found:
        raise ConfigError(said)
    returns, said_of_it = max(found, key=lambda each: max(each[0]))
    for text in said_of_it:
        note(text)
    return returns


def row(place: int, size: Size, made: Made) -> JsonObject:
    """Of the table over sizes: for each return the fewest hours with their ratio and steps; None where no law is extrapolated."""
    found = made.found

    def cheapest(level: Level) -> JsonObject | None:
        if level.doubt or not found.pace.known:
            return None
        ratio, hours = found.best_ratio(level)
        ends = found.interval(level, lambda one, it: one.best_ratio(it)[1])
        return {"return": level.threshold, "sigma": ratio, "hours": hours, "hours_interval": ends, "steps": float(found.data(level, ratio))}

    return {
        "size": size.value,
        "parameters": size.parameters,
        "folder": f"size_{place}",
        "cheapest": [cheapest(each) for each in found.levels],
    }


def budgets(rows: Sequence[JsonObject]) -> list[JsonObject]:
    """The best size at each budget: from the hours of a row on its size reaches its return first, up to the hours of the next row."""
    found: list[JsonObject] = []
    for column in reversed(range(len(rows[0]["cheapest"]))):
        paid = [{"size": each["size"], **each["cheapest"][column]} for each in rows if each["cheapest"][column]]
        first = min(paid, key=lambda each: each["hours"], default=None)
        if first and (not found or first["hours"] < found[-1]["hours"]):  # otherwise a higher return costs no more
            found.append(first)
    return found[::-1]
