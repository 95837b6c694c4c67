"""The page on scaling: one HTML file with its figure in it. Jinja escapes every text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import deeprl
from deeprl.system.machine import now
from deeprl.system.progress import duration
from deeprl.system.strict_json import JsonObject
from deeprl.tools.report.figures import COLOURS, png, styled
from deeprl.tools.report.page import number, visible
from deeprl.tools.report.runs import RunRecord
from deeprl.tools.scaling.fits import PowerLaw, power_law
from deeprl.tools.scaling.speed import StepTime
from deeprl.tools.scaling.study import BEYOND, DRAWS, Level, Study, at

TEMPLATE, SIZES = (Path(__file__).with_name(name) for name in ("page.html", "sizes.html"))


def render(found: Study, rows: list[JsonObject], ahead: list[JsonObject], facts: JsonObject, notes: list[str], image: bytes) -> str:
    """
    Args:
        rows: of the cells.
        ahead: of the frontier, one for each return.
        facts: what the page says about runs and command: "task", "agent", "runs", "clock", "next", "words", "hours", "parameters",
            "command".
        notes: a sentence each.
        image: of `figure`.
    """
    sigmas = found.levels[0].sigma.tolist()
    return (
        templates()
        .from_string(TEMPLATE.read_text("utf-8"))
        .render(
            **facts,
            machines="; ".join(facts["clock"]["machines"]) or "unknown",
            cells=rows,
            ahead=ahead,
            columns=max(([place["sigma"] for place in row["places"]] for row in ahead), key=len),
            samples=len(found.samples),
            sigmas=sigmas,
            ratios=", ".join(f"{sigma:g}" for sigma in sigmas),
            settings=(found.batch, found.rate),
            levels=found.levels,
            highest=max((level.threshold for level in found.levels if not level.doubt), default=None),
            study=found,
            pace=found.pace,
            at=at,
            notes=notes,
            growth=of_budget(found),
            beyond=BEYOND,
            draws=DRAWS,
            image=base64.b64encode(image).decode(),
            version=deeprl.__version__,
            time=now(),
        )
    )


def render_sizes(
    run: RunRecord, rows: list[JsonObject], budgets: list[JsonObject], asked: JsonObject, words: str | None, notes: list[str]
) -> str:
    """The page over sizes.

    Args:
        run: one of the grid.
        rows, budgets: see `deeprl.tools.scaling.sizes`.
        asked: the words of the command: "size", "returns", "hours", "command".
        words: of the next run.
    """
    head = TEMPLATE.read_text("utf-8").partition("<h1>")[0]
    return (
        templates()
        .from_string(head + SIZES.read_text("utf-8"))
        .render(
            **asked,
            task=run.task,
            agent=run.agent,
            rows=rows,
            budgets=budgets,
            words=words,
            notes=notes,
            version=deeprl.__version__,
            time=now(),
        )
    )


def templates() -> Environment:
    found = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible)
    found.filters |= {"number": lambda value: number(float(value)), "span": span}
    found.globals |= {"number": number, "span": span, "digits": digits, "ends": ends, "formula": formula, "whole": whole}
    return found


def span(hours: float) -> str:
    """A duration; below a minute and a half with three digits of seconds, because runs of a grid may be that short."""
    seconds = 3600 * float(hours)
    return "unknown" if not np.isfinite(seconds) else f"{seconds:.3g} s" if seconds < 90 else duration(seconds)


def whole(steps: float) -> str:
    return f"{float(steps):,.0f}" if np.isfinite(steps) else "no"


def digits(value: float) -> str:
    return f"{value:.3g}"


def formula(pace: StepTime) -> str:
    update = f"{digits(1000 * pace.update)} ms + B · {digits(1e6 * pace.sample)} µs"
    return f"{digits(1000 * pace.step)} ms + \N{GREEK SMALL LETTER SIGMA} ({update})"


def ends(pair: Sequence[float], shown: Callable[[float], str]) -> str:
    """An interval."""
    return f"[{shown(pair[0])}, {shown(pair[1])}]" if np.isfinite(pair).all() else "no interval"


def of_budget(found: Study) -> PowerLaw | None:
    """The best ratio as a power of the budget in hours, (5), over the returns; None with fewer than two."""
    pairs = [found.best_ratio(level) for level in found.levels if not level.doubt] if found.pace.known else []
    pairs = [pair for pair in pairs if np.isfinite(pair).all()]
    ratios, hours = (np.array(column) for column in zip(*pairs)) if pairs else (np.empty(0), np.empty(0))
    return power_law(hours, ratios) if len(np.unique(hours)) > 1 else None


def figure(found: Study) -> bytes:
    """Best batch size, best rate, data and hours against the ratio, and hours against data: points are observed, lines are laws, dotted
    beyond the grid; a band is an interval, of data and hours that of the highest return that is extrapolated."""
    sigmas = found.grid()
    inside = (sigmas >= found.levels[0].sigma.min()) & (sigmas <= found.levels[0].sigma.max())
    trusted = [level for level in found.levels if not level.doubt]
    banded = trusted[-1] if trusted and found.samples else None
    unit, scale = unit_of(max((float(np.nanmax(found.cost(level, sigmas), initial=0.0)) for level in trusted), default=1.0))

    def lines(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, dotted: bool = True) -> None:
        axes.plot(x[inside], y[inside], color=colour)
        if dotted:
            axes.plot(x, y, ":", color=colour)

    def band(axes: Axes, level: Level, of: Callable[[Study, Level], np.ndarray], colour: str) -> None:
        axes.fill_between(sigmas, *found.interval(level, of), color=colour, alpha=0.15, linewidth=0)

    with styled():
        drawn = Figure(figsize=(10.4, 6.2), layout="constrained")
        batch, rate, steps, hours, front, words = drawn.subplots(2, 3).flat
        for axes, name, title in ((batch, "batch", "best batch size"), (rate, "rate", "best learning rate")):
            setting = getattr(found, name)
            axes.plot(setting.sigma, setting.best, "o", color=COLOURS[0])
            if setting.law:
                lines(axes, sigmas, setting.law(sigmas), COLOURS[0])
            if banded:
                band(axes, banded, lambda one, it, name=name: at(getattr(one, name), sigmas), COLOURS[0])  # type: ignore[misc]
            axes.set_title(title, loc="left")
        for place, level in enumerate(found.levels):
            colour = COLOURS[place % len(COLOURS)]
            steps.plot(level.sigma, level.data, "o", color=colour, markersize=4, label=f"return {level.threshold:.4g}")
            if level.law:
                data, cost = found.data(level, sigmas), scale * found.cost(level, sigmas)
                lines(steps, sigmas, data, colour, not level.doubt)
                if found.pace.known:
                    lines(hours, sigmas, cost, colour, not level.doubt)
                    lines(front, data, cost, colour, not level.doubt)
            if level is banded:
                band(steps, level, lambda one, it: one.data(it, sigmas), colour)
                if found.pace.known:
                    band(hours, level, lambda one, it: scale * one.cost(it, sigmas), colour)
        steps.set_title("environment steps to a return", loc="left")
        hours.set_title(f"{unit} to a return", loc="left")
        front.set_title(f"frontier: {unit} against steps", loc="left")
        words.axis("off")
        words.legend(*steps.get_legend_handles_labels(), loc="upper left")
        text = "points: observed\nlines: laws, dotted beyond the grid"
        text += (
            f"\nbands: 95 % of {len(found.samples)} bootstrap samples;\nof steps and {unit} for the return {banded.threshold:.4g}"
            if banded
            else ""
        )
        words.text(0, 0.05, text, transform=words.transAxes)
        for axes in (batch, rate, steps, hours, front):
            axes.set_xscale("log", base=10 if axes is front else 2)
            axes.set_yscale("log")
            axes.set_xlabel("environment steps" if axes is front else "replay ratio")
            labelled(axes.xaxis, 1.0 if axes is front else np.inf)  # ratios are labelled at powers of 2 alone
            labelled(axes.yaxis, float(np.ptp(np.log10(axes.get_ylim()))))
    return png(drawn)


def unit_of(hours: float) -> tuple[str, float]:
    """The unit for an axis up to so many hours, and how many of it an hour has."""
    return ("hours", 1.0) if not hours < 2 else ("minutes", 60.0) if hours > 1 / 30 else ("seconds", 3600.0)


def labelled(axis: Axis, decades: float) -> None:
    """Numbers at the ticks of a logarithmic axis: at all of a short one, otherwise at 1, 2 and 5, and at powers alone of a long one."""
    axis.set_major_formatter(FuncFormatter(tick))
    if 0.7 <= decades < 2.5:
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_minor_formatter(FuncFormatter(tick) if decades < 2.5 else NullFormatter())


def tick(value: float, place: int | None = None) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
