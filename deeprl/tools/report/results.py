"""The numbers of a report: runs in a table of tasks and groups, and the tables that are made of it. A row is a dict, as the CSV files
have it; `figures.py` and `page.py` show the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from deeprl.running.config.rules import get
from deeprl.tools.report import statistics
from deeprl.tools.report.normalise import ScoreScale, scales
from deeprl.tools.report.rank_test import p_value
from deeprl.tools.report.runs import LAST, RunRecord
from deeprl.tools.report.statistics import Interval, MeanCurve

AXES = ("step", "updates", "seconds")
"""Fields of `Curve` that may be the x-axis of learning curves."""
MOST_STEPS = 200
"""Thresholds of a performance profile. With more runs it is read at so many scores, equally far apart."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """
    Args:
        groups: name -> runs of all tasks, those without an evaluation too.
    """

    groups: dict[str, list[RunRecord]]

    @cached_property
    def cells(self) -> dict[str, dict[str, list[RunRecord]]]:
        """Task -> group -> its runs that were evaluated, if there are any."""
        found: dict[str, dict[str, list[RunRecord]]] = {}
        for group, runs in self.groups.items():
            for run in (run for run in runs if run.final):
                found.setdefault(run.task, {}).setdefault(group, []).append(run)
        return dict(sorted(found.items()))

    def final(self, task: str, group: str) -> np.ndarray:
        """Final scores of the seeds, (seeds,)."""
        return np.array([run.final.mean for run in self.cells[task].get(group, ()) if run.final])

    # ---- learning curves

    def curve(self, task: str, group: str, axis: str) -> MeanCurve | None:
        """Mean over the seeds; None where no run has the axis."""
        runs = [run for run in self.cells[task][group] if not np.isnan(getattr(run.curve, axis)).any()]
        if not runs:
            return None
        longest = max(run.curve.step[-1] for run in runs)
        curves = [(getattr(run.curve, axis), run.curve.reward) for run in runs]
        return statistics.mean_curve(curves, [run.curve.step[-1] == longest for run in runs])

    def evaluations(self) -> Iterator[Row]:
        for task, group, run in self.each():
            for step, updates, seconds, reward in zip(*run.curve):
                where = {"task": task, "group": group, "seed": run.seed, "run": run.name}
                yield {**where, "step": int(step), "updates": updates, "seconds": seconds, "mean_reward": reward}

    def means(self) -> Iterator[Row]:
        for axis in AXES:
            for task, groups in self.cells.items():
                for group in groups:
                    for point in zip(*(self.curve(task, group, axis) or ((),))):
                        yield {"axis": axis, "task": task, "group": group, **dict(zip(("x", "mean", "low", "high", "seeds"), point))}

    # ---- scores

    def scores(self) -> Iterator[Row]:
        """One row for each run."""
        for task, group, run in self.each():
            assert run.final
            where = {"task": task, "group": group, "seed": run.seed, "run": run.name, "state": run.state}
            scores = {f"last_{LAST}": run.last, "final": run.final.mean, "final_step": run.final.step, "final_from": run.final.source}
            normalised = float(self.scale[task](np.array([run.final.mean]))[0])
            yield {**where, **scores, "normalised": normalised, "normalised_by": self.normalisation[0]}

    def summary(self) -> Iterator[Row]:
        """One row for each group on each task."""
        for task, groups in self.cells.items():
            for group, runs in groups.items():
                final = self.final(task, group)
                yield {
                    "task": task,
                    "group": group,
                    "seeds": len(runs),
                    "unfinished": sum(run.state != "finished" for run in runs),
                    **spread(f"last_{LAST}", statistics.mean(np.array([run.last for run in runs]))),
                    **spread("final", statistics.mean(final)),
                    **spread("iqm", statistics.bootstrap([final])),
                }

    def numbers(self) -> Iterator[Row]:
        """Numbers that the environments tell, one row for each evaluation of a run."""
        for task, group, run in self.each():
            for name, told in run.numbers.items():
                for step, value in sorted(told.items()):
                    yield {"task": task, "group": group, "seed": run.seed, "run": run.name, "step": int(step), "name": name, "value": value}

    def last_numbers(self) -> Iterator[Row]:
        """The same of each run's last evaluation that told it, one row for each name and group."""
        for task, groups in self.cells.items():
            for name in sorted({name for runs in groups.values() for run in runs for name in run.numbers}):
                for group, runs in groups.items():
                    last = [run.numbers[name][max(run.numbers[name])] for run in runs if name in run.numbers]
                    if last:
                        yield {
                            "task": task,
                            "name": name,
                            "group": group,
                            "seeds": len(last),
                            **spread("mean", statistics.mean(np.array(last))),
                        }

    # ---- aggregates over tasks

    @cached_property
    def everywhere(self) -> list[str]:
        """Groups with a score on every task."""
        return [group for group in self.groups if all(group in groups for groups in self.cells.values())]

    @cached_property
    def normalisation(self) -> tuple[str, dict[str, ScoreScale]]:
        runs = {task: [run for each in groups.values() for run in each] for task, groups in self.cells.items()}
        final = {task: np.concatenate([self.final(task, group) for group in groups]) for task, groups in self.cells.items()}
        return scales({task: [get(run.config, "env") for run in each] for task, each in runs.items()}, final)

    @property
    def scale(self) -> dict[str, ScoreScale]:
        return self.normalisation[1]

    def comparable(self, group: str) -> list[np.ndarray]:
        """Final scores of each task: normalised if there are several tasks, raw if there is one."""
        if len(self.cells) == 1:
            return [self.final(task, group) for task in self.cells]
        return [self.scale[task](self.final(task, group)) for task in self.cells]

    def aggregates(self) -> Iterator[Row]:
        """Of normalised scores; nothing for a single task."""
        for group in self.everywhere if len(self.cells) > 1 else ():
            scores = self.comparable(group)
            counts = {"group": group, "tasks": len(scores), "runs": sum(map(len, scores))}
            yield {**counts, **spread("iqm", statistics.bootstrap(scores)), **spread("mean", statistics.bootstrap(scores, np.mean))}

    def profiles(self) -> Iterator[Row]:
        pooled = [score for group in self.everywhere for scores in self.comparable(group) for score in scores]
        if not pooled:
            return
        low, high = min(pooled), max(pooled)
        margin = 0.03 * (high - low) or 0.5
        steps = np.unique(pooled)  # where a profile changes
        middle = steps if len(steps) <= MOST_STEPS else np.linspace(low, high, MOST_STEPS)
        thresholds = np.array([low - margin, *middle, high + margin])
        for group in self.everywhere:
            for threshold, *fraction in zip(thresholds, *statistics.profile(self.comparable(group), thresholds)):
                yield {"group": group, "score": threshold, **spread("fraction", Interval(*fraction))}

    @cached_property
    def improvements(self) -> list[Row]:
        """Of each pair of groups, in both orders, on the tasks that both have."""
        rows = []
        for x, y in combinations(self.groups, 2):
            tasks = [task for task, groups in self.cells.items() if x in groups and y in groups]
            if tasks:
                mine, theirs = [[self.final(task, group) for task in tasks] for group in (x, y)]
                found, p = statistics.improvement(mine, theirs), p_value(mine, theirs)
                rows.append({"x": x, "y": y, "tasks": len(tasks), **spread("probability", found), "p": p})
                reverse = Interval(1 - found.point, 1 - found.high, 1 - found.low)
                rows.append({"x": y, "y": x, "tasks": len(tasks), **spread("probability", reverse), "p": p})
        return rows

    def each(self) -> Iterator[tuple[str, str, RunRecord]]:
        for task, groups in self.cells.items():
            for group, runs in groups.items():
                for run in runs:
                    yield task, group, run


def spread(name: str, interval: Interval) -> Row:
    return {name: interval.point, f"{name}_low": interval.low, f"{name}_high": interval.high}
