"""What a reader must know before believing a figure: runs that are unfinished, unequal or missing, one sentence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from deeprl.running.config.rules import get
from deeprl.system.terminal import some
from deeprl.tools.report.groups import Setting, important, settings
from deeprl.tools.report.runs import DIRTY, RunRecord, number, short

MEASURING = ("evaluation.every", "evaluation.episodes", "evaluation.final_episodes")
UNTOLD = object()
"""In place of the value of a key that a stored run does not have"""
COMPUTING = ("device", "accelerate.mode", "accelerate.matmul_precision", "runtime.threads")

SHORT = 7
"""Characters of a hash that are shown"""


def problems(groups: dict[str, list[RunRecord]], different: Iterable[Setting]) -> list[str]:
    """
    Args:
        different: `differences` of the groups.
    """
    runs = list(chain.from_iterable(groups.values()))
    return [
        *unfinished(runs), *inexact(runs), *from_data(runs), *nameless(runs), *mixed(different), *lengths(groups), *seeds(groups),
        *alike(groups), *unequal(runs), *computed(runs),
    ]  # fmt: skip


WHEN = (".duration", ".begin")
"""Ends of the keys that say when a schedule changes"""
ENDED = {"finished": "finished early", "running": "is still running, or was killed,", "failed": "failed", "stopped": "was stopped"}


def unfinished(runs: Iterable[RunRecord]) -> Iterator[str]:
    for run in runs:
        remark = f": {run.remark}" if run.remark else ""
        if run.state != "finished" or run.remark:
            how = ENDED.get(run.state, "has no readable status and was")
            steps = run.config.get("steps")
            yield f"{run.name} {how} at step {run.step:,} of {f'{steps:,}' if number(steps) else short(steps)}{remark}"
        if run.final is None:
            yield f"{run.name} has no evaluation yet, and is in no figure"


def inexact(runs: Iterable[RunRecord]) -> Iterator[str]:
    resumed = (run for run in runs if run.resumed and get(run.config, "checkpoint.replay") is False)
    names = [run.name for run in resumed if run.updates]  # without updates there is nothing to pause
    if names:
        yield f"resumed without a replay (checkpoint.replay=false), so that updates paused until there were new rows: {listed(names)}"


def from_data(runs: Iterable[RunRecord]) -> Iterator[str]:
    names = [run.name for run in runs if run.data]
    if names:
        yield (
            f"learned from stored data: {listed(names)}; the axis of environment steps does not count the steps of the data, and where "
            "nothing but data is learned from (replay=stored), it counts updates"
        )


def nameless(runs: Iterable[RunRecord]) -> Iterator[str]:
    tasks = sorted({run.task for run in runs if "#" in str(get(run.config, "env.function"))})
    if tasks:
        yield (
            f"environments of lambdas or local functions are tasks of their own, a new one at each call: {', '.join(tasks)}; to compare "
            "such runs, make the environment by a function at the top level of a module"
        )


def mixed(different: Iterable[Setting]) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for setting in different:
        for group in setting.mixed:
            found.setdefault(group, []).append(setting.key)
    for group, keys in found.items():
        yield f"{group} joins runs of different configurations: on one task they differ in {some(keys, 5)}"


def lengths(groups: dict[str, list[RunRecord]]) -> Iterator[str]:
    """Runs of different `steps`: the schedules that make them different groups, and groups of stored lines, which do not tell schedules."""
    alike: dict[tuple, list[tuple[str, RunRecord, dict[str, str]]]] = {}
    for group, runs in groups.items():
        for run in runs:
            leaves = important(settings(run))
            when = {key: value for key, value in leaves.items() if key.endswith(WHEN)}
            alike.setdefault((run.task, *sorted(leaves.items() - when.items())), []).append((group, run, when))
        stored = [run for run in runs if get(run.config, "agent._target_") is None]
        steps = {task: trained(run for run in stored if run.task == task) for task in sorted({run.task for run in stored})}
        if tasks := [task for task, each in steps.items() if len(each) > 1]:
            yield (
                f"{group} joins runs of {' and '.join(steps[tasks[0]])} steps on {some(tasks, 3)}: stored lines do not say whether a "
                "schedule lasts for a share of steps, which would make them different; --group agent,steps keeps them apart"
            )
    for (task, *_), found in alike.items():
        keys = {key for _, _, when in found for key in when if len({each.get(key) for _, _, each in found}) > 1}
        each = trained(run for _, run, _ in found)
        if keys and len(each) > 1 and len({group for group, _, _ in found}) > 1:
            yield (
                f"on {task} runs of {' and '.join(each)} steps are different groups, because schedules of theirs last differently long: "
                f"{some(sorted(keys), 3)}; --group agent joins them"
            )


def trained(runs: Iterable[RunRecord]) -> list[str]:
    """The different `steps` of runs, as a reader writes them."""
    return [f"{steps:,}" for steps in sorted({run.config["steps"] for run in runs if number(run.config.get("steps"))})]


def seeds(groups: dict[str, list[RunRecord]]) -> Iterator[str]:
    scored = {group: [run for run in runs if run.final] for group, runs in groups.items()}
    tasks = sorted({run.task for runs in groups.values() for run in runs})
    for group, runs in scored.items():
        times = Counter(run.task for run in runs)
        if without := [task for task in tasks if not times[task]]:
            yield f"{group} has no scored run on {some(without, 3)}, and is left out of aggregates over tasks"
        if once := [task for task in tasks if times[task] == 1]:
            yield f"{group} has one seed on {some(once, 3)}: no interval can be given"
    for task in tasks:
        numbers = {group: Counter(run.seed for run in runs if run.task == task) for group, runs in scored.items()}
        counts = {group: sum(number.values()) for group, number in numbers.items()}
        if len({*counts.values()} - {0}) > 1:
            yield f"on {task} the groups have different numbers of seeds: {', '.join(f'{group} {n}' for group, n in counts.items() if n)}"
        for group, times in numbers.items():
            for seed in (seed for seed in times if times[seed] > 1):
                names = [run.name for run in scored[group] if run.task == task and run.seed == seed]
                yield f"{group} has seed {seed} on {task} {len(names)} times, and each counts: {', '.join(names)}"
    for group, runs in scored.items():
        counts = Counter(run.task for run in runs)
        if len(set(counts.values())) > 1:
            each = ", ".join(f"{number} on {task}" for task, number in sorted(counts.items()))
            yield f"{group} has {each}: aggregates over tasks count every run alike, and so these tasks unequally"


def alike(groups: dict[str, list[RunRecord]]) -> Iterator[str]:
    """Groups whose settings have changed nothing, as those of an optimizer in a run without updates do."""
    found: dict[tuple, list[str]] = {}
    for group, runs in groups.items():
        for task in sorted({run.task for run in runs}):
            curves = {run.seed: tuple(run.curve.reward.tolist()) for run in runs if run.task == task and run.final}
            if len(curves) > 1 and len({*chain.from_iterable(curves.values())}) > 1:  # else all may have reached what can be reached
                found.setdefault((task, *sorted(curves.items())), []).append(group)
    for (task, *_), names in found.items():
        if len(names) > 1:
            yield f"on {task} all evaluations of {' and '.join(names)} are equal, seed by seed: their settings changed nothing"


def unequal(runs: list[RunRecord]) -> Iterator[str]:
    """How long the runs of a task trained, and how their scores were measured."""
    for task in sorted({run.task for run in runs}):
        here = [run for run in runs if run.task == task and run.final]
        yield from apart(here, [f"{run.final.step:,}" for run in here if run.final], f"on {task} the final scores are of different steps")
        for key in MEASURING:
            yield from apart(here, [get(run.config, key) for run in here], f"on {task} {key} differs")


def computed(runs: list[RunRecord]) -> Iterator[str]:
    """Code, software and hardware."""
    for run in runs:
        parts = [name for name, *values in zip(("commit", "packages", "hardware"), *run.machines) if len(set(values)) > 1]
        hashes = Counter(name for name, _ in {each for code in run.codes for each in code})
        parts += [f"code in {name}" for name, several in sorted(hashes.items()) if several > 1]
        if parts:
            yield f"{run.name} was resumed with other {' and '.join(parts)}; the last start is shown"
    known = [run for run in runs if run.machines]
    last = [run.machines[-1] for run in known]
    if len(known) < len(runs):
        yield f"system.json is missing or empty: {listed([run.name for run in runs if not run.machines])}"
    yield from apart(known, [machine.commit.removesuffix(DIRTY)[:12] or "unknown" for machine in last], "the commit differs")
    dirty = [run.name for run, machine in zip(known, last) if machine.commit.endswith(DIRTY)]
    if dirty:
        yield f"files differed from the commit, which therefore does not say what was run: {listed(dirty)}"
    versions = [(run, dict(machine.packages)) for run, machine in zip(known, last) if machine.packages]
    telling = [run for run, _ in versions]
    if telling and (silent := [run.name for run, machine in zip(known, last) if not machine.packages]):  # stored runs
        yield f"versions of packages are not told by {listed(silent)}"
    for package in sorted({name for _, each in versions for name in each}):
        yield from apart(telling, [each.get(package, "none") for _, each in versions], f"the version of {package} differs")
    codes = [(run, dict(run.codes[-1])) for run in runs if run.codes]
    for module in sorted({name for _, code in codes for name in code}):
        having = [(run, code[module][:SHORT]) for run, code in codes if module in code]  # a script that starts runs does not resume them
        yield from apart([run for run, _ in having], [each for _, each in having], f"the code of {module} differs")
    yield from apart(known, [machine.hardware for machine in last], "hardware differs, so that wall clocks cannot be compared")
    for key in COMPUTING:
        values = [get(run.config, key, UNTOLD) for run in runs]
        telling = [run for run, value in zip(runs, values) if value is not UNTOLD]
        told = [value for value in values if value is not UNTOLD]
        yield from apart(telling, told, f"{key} differs, so that wall clocks cannot be compared")


def apart(runs: Iterable[RunRecord], values: Iterable[object], sentence: str) -> Iterator[str]:
    """The sentence with all values, if there are several."""
    found: dict[str, list[str]] = {}
    for run, value in zip(runs, values):
        found.setdefault(short(value), []).append(run.name)
    if len(found) > 1:
        yield f"{sentence}: {', '.join(f'{each} ({listed(names)})' for each, names in found.items())}"


def listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 2 else f"{len(names)} runs"
