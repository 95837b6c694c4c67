"""The page: one HTML file with everything in it. Jinja escapes every text, and the page's own policy lets a browser load and run
nothing."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from deeprl.system.terminal import printable
from deeprl.tools.report.figures import DPI
from deeprl.tools.report.groups import Setting, shown
from deeprl.tools.report.normalise import WORDS
from deeprl.tools.report.results import Results, Row
from deeprl.tools.report.runs import LAST, Machine, RunRecord
from deeprl.tools.report.statistics import DRAWS

TEMPLATE = Path(__file__).with_name("page.html")
FEW = 10
"""Fewer seeds than this, and the page says what a bootstrap over them is worth."""
VIEWS = {"curves_steps.png": "environment steps", "curves_updates.png": "gradient updates", "curves_wall_clock.png": "wall clock"}


def render(results: Results, settings: list[Setting], problems: list[str], images: dict[str, bytes], made: dict[str, str]) -> str:
    """
    Args:
        problems: one sentence each.
        images: file name -> PNG.
        made: what the last line of the page says about the report itself: "command", "time", "version".
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible)
    environment.filters |= {"number": number, "duration": duration, "percent": lambda share: f"{100 * share:.0f} %"}
    environment.globals |= {"interval": interval}
    runs = [run for each in results.groups.values() for run in each]
    pairs = {(row["x"], row["y"]): row for row in results.improvements}
    summary = list(results.summary())
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        title=" · ".join(results.groups) if len(results.groups) <= 3 else f"{len(results.groups)} groups on {len(results.cells)} tasks",
        results=results,
        groups=list(results.groups),
        left=[group for group in results.groups if group not in results.everywhere],
        several=len(results.cells) > 1,
        runs=[(number, group, run) for number, (group, run) in enumerate(((g, r) for g, each in results.groups.items() for r in each), 1)],
        summary=summary,
        few=min((row["seeds"] for row in summary), default=0) < FEW,
        numbers=list(results.last_numbers()),
        aggregates=list(results.aggregates()),
        normalisation=WORDS[results.normalisation[0]],
        pairs=pairs,
        settings=[(setting.key, [cell(setting, group) for group in results.groups]) for setting in settings],
        machines=machines(runs),
        problems=problems,
        views=VIEWS,
        images={name: (96 * pixels(data) // DPI, base64.b64encode(data).decode()) for name, data in images.items()},
        draws=DRAWS,
        last=LAST,
        made=made,
    )


def visible(value: object) -> object:
    """Text with control characters made visible. Jinja calls it with everything that the template prints."""
    return printable(value) if type(value) is str else value


def pixels(png: bytes) -> int:
    """Width of an image."""
    return int.from_bytes(png[16:20], "big")


def machines(runs: Iterable[RunRecord]) -> list[tuple[Machine, list[int]]]:
    """What runs were computed with, and the numbers of the runs in the page's list."""
    found: dict[Machine, list[int]] = {}
    for place, run in enumerate(runs, 1):
        if run.machines:
            found.setdefault(run.machines[-1], []).append(place)
    return list(found.items())


def cell(setting: Setting, group: str) -> list[tuple[str, str]]:
    """Values of a group, each with the tasks that have it, unless all have the same."""
    values = setting.values[group]
    return [(shown(value), "" if len(values) == 1 else ", ".join(on)) for value, on in values.items()]


def number(value: float) -> str:
    """At least three digits, and no more than a score of such size deserves."""
    if value is None or math.isnan(value):
        return "no"
    if not value or abs(value) < 1e-3 or abs(value) >= 1e15:
        return f"{value:.3g}"
    digits = 3 if abs(value) < 1 else max(4 - len(f"{abs(value):.0f}"), 0) if abs(value) >= 100 else 2
    return f"{value:,.{digits}f}"


def interval(row: Row, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "no interval" if math.isnan(low) else f"[{number(low)}, {number(high)}]"


def duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
