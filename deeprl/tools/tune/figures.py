"""Figures of a study, as PNG: the values of its trials, and the importance of its parameters."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import TrialState

from deeprl.tools.report.figures import COLOURS, styled

FEWEST = 4
"""Complete trials that an importance is computed from."""


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each parameter in what makes trials good, largest first, by Optuna's default evaluator, PED-ANOVA. Empty if there are too
    few complete trials, or all are equal."""
    values = [trial.values[0] for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    if len(values) < FEWEST or min(values) == max(values):
        return {}
    with warnings.catch_warnings(action="ignore"):
        return optuna.importance.get_param_importances(study)


def importance(found: dict[str, float]) -> Figure:
    names = list(found)[::-1]
    with styled():
        figure = Figure(figsize=(7.0, 1.0 + 0.32 * len(names)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(names, [found[name] for name in names], color=COLOURS[0], height=0.6)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set_xlim(0, 1.1)
        axes.set_xlabel("importance (PED-ANOVA, complete trials)")
        axes.grid(axis="y", visible=False)
        axes.set_axisbelow(True)
    return figure


def history(study: optuna.Study) -> Figure:
    """Values of complete and of pruned trials, and the best so far."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]
    looks = {TrialState.COMPLETE: ("complete", "o", COLOURS[0]), TrialState.PRUNED: ("pruned, at its last step", "X", COLOURS[1])}
    with styled():
        figure = Figure(figsize=(7.0, 3.2), layout="constrained")
        axes = figure.subplots()
        for state, (label, marker, colour) in looks.items():
            points = np.array([(trial.number, trial.value) for trial in trials if trial.state is state]).reshape(-1, 2)
            axes.plot(*points.T, marker, color=colour, markeredgecolor="white", label=label)
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        best = np.maximum.accumulate([trial.values[0] for trial in complete])
        axes.step([trial.number for trial in complete], best, where="post", color=COLOURS[4], linewidth=1.2, label="best so far")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial")
        axes.set_ylabel("return")
        figure.legend(loc="outside upper left", ncols=3)
    return figure
