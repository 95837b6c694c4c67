"""The page on scaling: one HTML file with its figure in it. Jinja escapes every text."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

import deeprl
from deeprl.system.files import JsonObject
from deeprl.system.machine import now
from deeprl.tools.report.figures import COLOURS, png, styled
from deeprl.tools.report.page import number, visible
from deeprl.tools.scaling.fits import PowerLaw, power_law
from deeprl.tools.scaling.study import BEYOND, DRAWS, Study, at

TEMPLATE = Path(__file__).with_name("page.html")


def render(found: Study, rows: list[JsonObject], facts: JsonObject, notes: list[str], image: bytes) -> str:
    """
    Args:
        rows: of the cells.
        facts: what the page says about runs and command: "task", "agent", "runs", "next", "words", "hours", "parameters", "command".
        notes: a sentence each.
        image: of `figure`.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible)
    environment.filters["number"] = lambda value: number(float(value))
    sigmas = found.levels[0].sigma.tolist()
    return environment.from_string(TEMPLATE.read_text()).render(
        **facts,
        cells=rows,
        sigmas=sigmas,
        ratios=", ".join(f"{sigma:g}" for sigma in sigmas),
        settings=(found.batch, found.rate),
        levels=found.levels,
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


def of_budget(found: Study) -> PowerLaw | None:
    """The best ratio as a power of the budget in hours, (5), over the returns; None with fewer than two."""
    pairs = [found.best_ratio(level) for level in found.levels if not level.doubt] if found.pace.known else []
    ratios, hours = (np.array(column) for column in zip(*pairs)) if pairs else (np.empty(0), np.empty(0))
    return power_law(hours, ratios) if len(np.unique(hours)) > 1 else None


def figure(found: Study) -> bytes:
    """Best batch size, best rate, data and hours against the ratio: points are observed, lines are laws, dotted beyond the grid."""
    sigmas = found.grid()
    inside = (sigmas >= found.levels[0].sigma.min()) & (sigmas <= found.levels[0].sigma.max())
    with styled():
        drawn = Figure(figsize=(10.4, 3.4), layout="constrained")
        panels = drawn.subplots(1, 4)
        for axes, setting, title in zip(panels, (found.batch, found.rate), ("best batch size", "best learning rate")):
            axes.plot(setting.sigma, setting.best, "o", color=COLOURS[0])
            if setting.law:
                axes.plot(sigmas, setting.law(sigmas), ":", color=COLOURS[0])
                axes.plot(sigmas[inside], setting.law(sigmas[inside]), color=COLOURS[0])
            axes.set_title(title, loc="left")
        for place, level in enumerate(found.levels):
            colour = COLOURS[place % len(COLOURS)]
            panels[2].plot(level.sigma, level.data, "o", color=colour, markersize=4, label=f"return {level.threshold:.4g}")
            if level.law:
                cost = [(panels[3], found.cost(level, sigmas))] if found.pace.known else []
                for axes, values in ((panels[2], level.law(sigmas)), *cost):
                    axes.plot(sigmas, values, ":", color=colour)
                    axes.plot(sigmas[inside], values[inside], color=colour)
        panels[2].set_title("environment steps", loc="left")
        panels[3].set_title("hours", loc="left")
        for axes in panels:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
            axes.yaxis.set_minor_formatter(NullFormatter() if np.ptp(np.log10(axes.get_ylim())) > 1 else StrMethodFormatter("{x:.1g}"))
            axes.set_xlabel("replay ratio")
        drawn.legend(loc="outside lower center", ncols=3)
    return png(drawn)
