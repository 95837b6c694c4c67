"""Figures of a report, as PNG. Groups differ in colour and in marker, so that colour-blind people and prints tell them apart."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from PIL import Image

from deeprl.system.terminal import printable
from deeprl.tools.report.results import Results
from deeprl.tools.report.runs import short

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#882255", "#999933", "#332288")
"""The palette of Okabe and Ito without its yellow, which is pale on white, and three of Paul Tol's "muted"."""
MARKERS = "osD^vXP<>*p"
WIDTHS, HEIGHT, MARGIN, LINE = {1: 7.0, 2: 5.0, 3: 3.6}, 2.7, 0.5, 0.22
"""Inches: width of a panel, by the number of panels in a row; height of a panel, of titles, of a line of the legend"""
DPI = 192
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.dpi": DPI,
    "text.parse_math": False,  # a name with two dollar signs is no formula
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's own defaults and `STYLE`, whatever a matplotlibrc says: one in the current folder may be a stranger's, and
    `text.usetex` starts a program."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


Panel = Callable[[Axes, str], object]
SHADED = 3
"""Seeds from which an interval is shaded, because that of two is 12.7 times as wide as their distance"""


def curves(results: Results, axis: str) -> bytes:
    """Learning curves, one panel a task: mean over seeds, interval of `SHADED` seeds or more, single seeds faint; dotted where a shorter
    run has ended.

    Args:
        axis: one of `AXES`.
    """
    known = [run.seconds for _, _, run in results.each() if not np.isnan(run.seconds)]
    unit, divisor = clock(max(known, default=0.0)) if axis == "seconds" else ("", 1.0)
    label = {"step": "environment steps", "updates": "gradient updates", "seconds": f"wall clock ({unit})"}[axis]
    crowded = len(results.groups) > 4
    if all(np.isnan(getattr(run.curve, axis)).any() for _, _, run in results.each()):  # stored lines know steps alone
        return png(panels(results, ["not recorded"], lambda axes, _: axes.set_axis_off(), label, "mean return of an evaluation"))

    def draw(axes: Axes, task: str) -> None:
        heights, recorded = [], False
        for group, runs in results.cells[task].items():
            colour, points = look(results, group)
            for run in runs:
                alpha = 0.15 if crowded else 0.35
                axes.plot(getattr(run.curve, axis) / divisor, run.curve.reward, color=colour, alpha=alpha, linewidth=0.7)
                heights += [run.curve.reward.min(), run.curve.reward.max()]
            mean = results.curve(task, group, axis)
            if mean is None:
                continue
            recorded = True
            whole = mean.runs == mean.runs.max(initial=0)
            every = marked(results, group, len(mean.x))
            axes.plot(mean.x / divisor, np.where(whole, mean.mean, np.nan), linewidth=1.8, markevery=every, **points)
            if not whole.all():
                axes.plot(mean.x / divisor, mean.mean, color=colour, linewidth=1.4, linestyle=":")
            lower = np.where(mean.runs >= SHADED, mean.low, np.nan)
            axes.fill_between(mean.x / divisor, lower, mean.high, color=colour, alpha=0.08 if crowded else 0.16, linewidth=0)
        if not recorded:
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center")
        low, high = min(heights), max(heights)
        room = 0.2 * (high - low) or 0.5
        axes.set_ylim(low - room, high + room)
        if axis != "seconds":
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(5))

    return png(panels(results, list(results.cells), draw, label, "mean return of an evaluation"))


def intervals(results: Results) -> bytes:
    """Interquartile mean of the final scores, one panel a task, and one of all tasks together."""
    everything = f"all {len(results.cells)} tasks, normalised"
    rows = {(row["task"], row["group"]): row for row in results.summary()}
    rows |= {(everything, row["group"]): row for row in results.aggregates()}
    tasks = list(dict.fromkeys(task for task, _ in rows))
    names = {title: [group for group in results.groups if (title, group) in rows][::-1] for title in tasks}
    most = max(map(len, names.values()))  # lines of the panels, whose groups may be few of all

    def draw(axes: Axes, task: str) -> None:
        for place, group in enumerate(names[task]):
            row, (colour, points) = rows[task, group], look(results, group)
            if not np.isnan(row["iqm_low"]):
                axes.hlines(place, row["iqm_low"], row["iqm_high"], color=colour, linewidth=5, alpha=0.4)
            axes.plot(row["iqm"], place, **points)
        axes.set_ylim(len(names[task]) - most - 0.6, len(names[task]) - 0.4)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))

    height = 0.7 + 0.2 * most
    return png(panels(results, tasks, draw, "interquartile mean of the final scores", "", height))


def profiles(results: Results) -> bytes:
    """Performance profiles of the groups that have a score on every task."""
    rows = list(results.profiles())

    def draw(axes: Axes, title: str) -> None:
        for group in results.everywhere:
            mine = [row for row in rows if row["group"] == group]
            x, middle, low, high = (np.array([row[key] for row in mine]) for key in ("score", "fraction", "fraction_low", "fraction_high"))
            colour, points = look(results, group)
            axes.plot(x, middle, drawstyle="steps-post", markevery=marked(results, group, len(x)), **points)
            axes.fill_between(x, low, high, step="post", color=colour, alpha=0.08 if len(results.groups) > 4 else 0.16, linewidth=0)
        axes.set_ylim(-0.03, 1.03)

    several = len(results.cells) > 1
    title = f"all {len(results.cells)} tasks" if several else next(iter(results.cells))
    label = "normalised final score τ" if several else "final score τ"
    return png(panels(results, [title], draw, label, "fraction of runs with a score above τ", 3.6))


def panels(results: Results, titles: Sequence[str], draw: Panel, xlabel: str, ylabel: str, height: float = HEIGHT) -> Figure:
    """A figure with one panel for each title, and one legend for all groups."""
    columns = min(len(titles), max(WIDTHS))
    rows = ceil(len(titles) / columns)
    width = WIDTHS[columns] * columns
    longest = max(len(group) for group in results.groups)
    beside = max(int(width * 12 / (longest + 6)), 1)
    lines = ceil(len(results.groups) / beside)
    with styled():
        figure = Figure(figsize=(width, rows * height + MARGIN + LINE * lines), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, title in zip(grid.flat, titles):
            axes.set_title(short(printable(title), int(12 * WIDTHS[columns])), loc="left")
            draw(axes, title)
        for axes in grid.flat[len(titles) :]:
            axes.remove()
        figure.supxlabel(xlabel, fontsize=STYLE["font.size"])
        figure.supylabel(ylabel, fontsize=STYLE["font.size"])
        handles = [figure.axes[0].plot([], [], **look(results, group)[1])[0] for group in results.groups]
        names = [short(printable(group), int(11 * width)) for group in results.groups]
        figure.legend(handles, names, loc="outside upper left", ncols=min(beside, len(names)))
    return figure


def look(results: Results, group: str) -> tuple[str, dict[str, Any]]:
    """Colour of a group, and how its line and markers are drawn; the same in all figures."""
    place = list(results.groups).index(group)
    colour = COLOURS[place % len(COLOURS)]
    marker = {"marker": MARKERS[place % len(MARKERS)], "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.4}
    return colour, {"color": colour, **marker}


def marked(results: Results, group: str, points: int) -> tuple[int, int]:
    """First marker, and every how many points there is one: about eight, at other places for each group, where lines are close."""
    every = max(points // 8, 1)
    return list(results.groups).index(group) * every // len(results.groups), every


def clock(seconds: float) -> tuple[str, float]:
    """The unit in which a wall time is shown, and its seconds."""
    return ("h", 3600.0) if seconds > 2 * 3600 else ("min", 60.0) if seconds > 120 else ("s", 1.0)


def png(figure: Figure) -> bytes:
    """With 256 colours, because the file then has a quarter of the size, and nobody sees it."""
    file = io.BytesIO()
    with styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font lacks is drawn as boxes; the page has it in full
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", dpi=(DPI, DPI))
    return file.getvalue()
