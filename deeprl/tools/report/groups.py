"""Groups: runs of a task that differ in nothing but the seed, and in keys that do not affect what is learned.

A group has one name on all tasks, although its configuration differs between them (tuned settings): the values of a few keys that tell the
groups of each task apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from math import comb
from operator import itemgetter
from typing import NamedTuple

from deeprl.errors import ConfigError
from deeprl.running.config.rules import nearest
from deeprl.running.runs.config_file import flatten
from deeprl.tools.report.runs import RunRecord, short

UNIMPORTANT = (
    "seed", "names", "steps", "stop", "evaluation", "checkpoint", "log", "logger", "resume", "device", "accelerate.mode",
    "runtime.threads", "runtime.deterministic", "runtime.watchdog", "env.vector", "env.on_error", "env.timeout",
    "replay.device", "collect.address", "collect.timeout", "collect.restarts", "learner.backend", "learner.timeout",
)  # fmt: skip
"""Keys that decide how long a run trains, what is recorded, and where it is computed, but not what is learned up to a step."""
SCHEDULES = ("deeprl.schedules.Linear", "deeprl.schedules.Cosine")
"""Classes whose values lie between `start` and `end`"""
ABSENT = "absent"
NAMES = ("agent", "env", "replay")
"""Slots whose option is recorded under `names`, so that `--group agent` means its name."""


def settings(run: RunRecord) -> dict[str, str]:
    """Every key of the configuration as text. The class of a part is the value of the part's own key: agent.backup = deeprl....Double.
    For `NAMES`, whose own key is the option's name, it is agent._target_. `learner.ranks` is the number of processes, each with `env.num`
    environments; torchrun decides it, and no configuration."""
    leaves = {key.removesuffix("._target_"): text(value) for key, value in flatten(run.config)}
    classes = {f"{slot}._target_": leaves[slot] for slot in NAMES if slot in leaves}
    leaves["learner.ranks"] = str(run.ranks)
    return {
        **leaves,
        **classes,
        **{slot: leaves[f"names.{slot}"] for slot in NAMES if f"names.{slot}" in leaves},
    }


def text(value: object) -> str:
    """As in YAML, but 2.0 is 2, because a run with the one is a run with the other."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e6 else str(value)


def important(leaves: dict[str, str]) -> dict[str, str]:
    """Only keys that affect what is learned. An agent's and a replay's name do where their class is unknown, as in a stored line."""
    inside = tuple(f"{key}." for key in UNIMPORTANT)
    told = {"env", *(slot for slot in NAMES if f"{slot}._target_" in leaves)}  # the environment is the task
    without = {*UNIMPORTANT, *told, *unread(leaves)}
    return {key: value for key, value in leaves.items() if key not in without and not key.startswith(inside)}


def unread(leaves: dict[str, str]) -> set[str]:
    """Keys that say when a schedule changes which never does: its end is its start. A share of `steps` stands there as steps, and would
    tell two runs of different length apart."""
    flat = {key for key, value in leaves.items() if value in SCHEDULES and leaves.get(f"{key}.start") == leaves.get(f"{key}.end", ABSENT)}
    return {f"{key}.{when}" for key in flat for when in ("duration", "begin")}


def grouped(runs: Sequence[RunRecord], keys: Sequence[str] | None = None) -> dict[str, list[RunRecord]]:
    """Group name -> runs of all tasks, ordered by name.

    Args:
        keys: runs with equal values of these keys form a group, whatever else differs. None: groups are inferred.

    Raises:
        ConfigError: no run has such a key.
    """
    known = {run.name: settings(run) for run in runs}
    if keys is None:  # a duration that nothing reads is none, or it would join a flat schedule with one that falls
        known = {name: {key: leaves[key] for key in leaves.keys() - unread(leaves)} for name, leaves in known.items()}
        keys = telling_apart(runs, known)
    for key in keys:
        if not any(key in leaves for leaves in known.values()):
            candidates = {key for leaves in known.values() for key in leaves}
            raise ConfigError(f"--group {key}: no run has this key.{nearest(key, candidates)}")
    found: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in runs:
        found.setdefault(tuple(known[run.name].get(key, ABSENT) for key in keys), []).append(run)
    labels: dict[str, None] = {}
    for values in found:
        name = label(keys, values)
        again = (f"{name} ({number})" for number in count(2))  # because values may look alike once they are shortened
        labels[name if name not in labels else next(each for each in again if each not in labels)] = None
    return dict(sorted(zip(labels, found.values()), key=itemgetter(0)))


def label(keys: Sequence[str], values: Sequence[str]) -> str:
    """A key that the group lacks is left out, unless it lacks all of them."""
    given = [(key, value) for key, value in zip(keys, values) if value != ABSENT] or list(zip(keys, values))
    return short(", ".join(f"{key}={shown(value)}" for key, value in given) or "all runs")


def shown(value: str) -> str:
    """A value for people. Of a class its name is enough."""
    return short(value.rpartition(".")[2] if value.startswith("deeprl.") else value, 60)


def telling_apart(runs: Sequence[RunRecord], known: dict[str, dict[str, str]]) -> list[str]:
    """The fewest keys (found greedily) whose values tell the inferred groups of each task apart; `agent` first, if agents differ at all."""
    clusters: dict[tuple, dict[str, str]] = {}
    for run in runs:
        leaves = known[run.name]
        cluster = clusters.setdefault((run.task, *sorted(important(leaves).items())), dict(leaves))
        for key in [key for key in cluster if cluster[key] != leaves.get(key)]:
            del cluster[key]  # a value that varies inside of a cluster cannot name it
    everywhere = [key for key in ("agent", "steps", "replay") if all(key in cluster for cluster in clusters.values())]
    candidates = sorted({*everywhere, *(key for cluster in clusters.values() for key in important(cluster))}, key=preference)
    keys = [key for key in everywhere if key == "agent"]
    tasks: dict[str, list[dict[str, str]]] = {}
    for (task, *_), cluster in clusters.items():
        tasks.setdefault(task, []).append(cluster)
    alike = list(tasks.values())
    for key in keys:
        alike = still_alike(alike, key)
    while alike:  # the pairs that a key leaves are counted by the sizes of their lists, because there are far more pairs than clusters
        best = min(candidates, key=lambda key: sum(comb(len(same), 2) for same in still_alike(alike, key)))  # the first of equals
        keys.append(best)
        alike = still_alike(alike, best)
    if len(keys) > 1 and keys[0] == "agent" and len({cluster["agent"] for cluster in clusters.values()}) == 1:
        del keys[0]
    return keys


def still_alike(lists: list[list[dict[str, str]]], key: str) -> list[list[dict[str, str]]]:
    """Each list in parts with equal values of a key, without the parts of one."""
    found = []
    for each in lists:
        parts: dict[str | None, list[dict[str, str]]] = {}
        for cluster in each:
            parts.setdefault(cluster.get(key), []).append(cluster)
        found += [part for part in parts.values() if len(part) > 1]
    return found


def preference(key: str) -> tuple[bool, int, int, str]:
    """Short keys come first, and so a part before the keys inside of it."""
    return key not in ("steps", "replay"), key.count("."), len(key), key


class Setting(NamedTuple):
    """A key whose values differ between the runs of a task."""

    key: str
    values: dict[str, dict[str, list[str]]]
    """Group -> value -> the tasks on which the group has it"""
    mixed: tuple[str, ...]
    """Groups in which it differs between the runs of a task"""


def differences(groups: dict[str, list[RunRecord]]) -> list[Setting]:
    """Keys that affect what is learned and differ between the runs of at least one task."""
    leaves = {run.name: important(settings(run)) for runs in groups.values() for run in runs}
    cells: dict[tuple[str, str], list[dict[str, str]]] = {}
    for group, task, run in sorted((group, run.task, run.name) for group, runs in groups.items() for run in runs):
        cells.setdefault((group, task), []).append(leaves[run])
    found = []
    for key in sorted({key for each in leaves.values() for key in each}):
        values = {cell: sorted({run.get(key, ABSENT) for run in runs}) for cell, runs in cells.items()}
        everywhere: dict[str, set[str]] = {}
        for (_, task), each in values.items():
            everywhere.setdefault(task, set()).update(each)
        if all(len(each) <= 1 for each in everywhere.values()):
            continue
        table: dict[str, dict[str, list[str]]] = {group: {} for group in groups}
        for (group, task), each in values.items():
            for value in each:
                table[group].setdefault(value, []).append(task)
        several = {group for (group, _), each in values.items() if len(each) > 1}
        found.append(Setting(key, table, tuple(group for group in groups if group in several)))
    return found
