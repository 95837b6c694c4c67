"""Runs as their folders describe them. A folder may come from a stranger: nothing in it is imported or executed, and what does not look
like the work of a run is named and left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeprl.errors import RunFolderError
from deeprl.running.config.rules import MOST, get
from deeprl.running.runs.config_file import Config, folder_of
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.runs.places import find_runs
from deeprl.system.strict_json import JsonObject

LAST = 4
"""Number of evaluations in the score that averages several."""
LONGEST, NAMES = 120, 200
"""Most characters that are shown of a name, and most packages or modules of a start: a run records some twenty packages."""
NUMBERS = 32
"""Most numbers of the task that are shown of a run"""

DIRTY = " (dirty)"
Note = Callable[[str], object]
"""Takes one sentence about a fault of a run."""


class Curve(NamedTuple):
    """One entry an evaluation, (E,), in the order of steps."""

    step: np.ndarray
    updates: np.ndarray
    """Gradient updates made so far; NaN where metrics.jsonl is missing"""
    seconds: np.ndarray
    """Wall time since the start of training, evaluations and checkpoints included; NaN where metrics.jsonl is missing"""
    reward: np.ndarray
    """`eval/mean_reward`, the mean return of the evaluation's episodes"""


Numbers = dict[str, dict[float, float]]
"""Name of a number that the environment tells, such as is_success -> step of an evaluation -> mean over its episodes that told it"""


class Final(NamedTuple):
    """The last evaluation of a run."""

    mean: float
    step: int
    source: str
    """The file that holds it"""


Named = tuple[tuple[str, str], ...]


class Machine(NamedTuple):
    """What a run was computed with."""

    commit: str
    """Empty if unknown; ends with `DIRTY` if files differed from it"""
    packages: Named
    hardware: str


@dataclass(frozen=True)
class RunRecord:
    name: str
    """Its folder, without what the folders of all runs have in common"""
    path: Path
    config: Config
    task: str
    agent: str
    seed: str
    state: str
    """running, finished, failed, stopped or unknown"""
    remark: str
    """The error of a failed run, or the criterion that ended it early"""
    data: str
    """Data that it learned from beside its own, with their digest; empty without any"""
    step: int
    updates: int | None
    """None if unknown"""
    seconds: float
    """Wall time; NaN if unknown"""
    curve: Curve
    final: Final | None
    """None before the first evaluation"""
    commands: tuple[str, ...]
    """One a start"""
    machines: tuple[Machine, ...]
    """One a start, the last one last"""
    resumed: bool
    """Whether a start went on from a checkpoint"""
    codes: tuple[Named, ...] = ()
    """Modules of the user's own with the hashes of their files, one a start"""
    ranks: int = 1
    """Processes that learn together"""
    numbers: Numbers = field(default_factory=dict)

    @property
    def last(self) -> float:
        """Mean of the last `LAST` evaluations, or of all if there are fewer."""
        return float(np.mean(self.curve.reward[-LAST:]))


def find(folders: Iterable[Path], note: Note) -> list[Path]:
    """All run folders in and below `folders`, each once. A folder without a run is noted."""
    found: dict[Path, Path] = {}
    for folder in folders:
        try:
            found |= {path.resolve(): path for path in find_runs(folder, note)}
        except RunFolderError as error:
            note(str(error))
    return list(found.values())


def read_all(paths: Iterable[Path], note: Note) -> list[RunRecord]:
    """The runs in folders of runs. A folder that cannot be read is noted."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    above = Path(os.path.commonpath([path.parent for path in absolute])) if absolute else Path()
    runs = []
    for path in absolute:
        name = str(path.relative_to(above))
        try:
            runs.append(read(path, name, lambda text, name=name: note(f"{name}: {text}")))  # type: ignore[misc]
        except RunFolderError as error:
            note(f"{name} is left out: {error}")
    name_data(runs, note)
    return runs


def name_data(runs: Iterable[RunRecord], note: Note) -> None:
    """Give `replay.data` of each run one name for each digest, because a link, or a run that trains on, is other data at another time, and
    a copy is the same data. A sentence is noted where one source has given several."""
    names: dict[str, str] = {}
    sources: dict[str, list[str]] = {}
    learned = [run for run in runs if digest_of(run.config) and isinstance(get(run.config, "replay.data"), str)]
    for run in learned:
        given, digest = run.config["replay"]["data"], digest_of(run.config)
        if digest not in names:
            again = given in names.values()
            names[digest] = f"{given} (digest {digest[:8]})" if again else given
        digests = sources.setdefault(os.path.abspath(os.path.expanduser(folder_of(given))), [])
        if digest not in digests:
            digests.append(digest)
    for source, digests in sources.items():
        if len(digests) > 1:
            named = ", ".join(short(f"{names[digest]}, digest {digest}") for digest in digests[:4])
            note(
                f"replay.data={short(source)} held different data at different times; the report makes a group of each: {named}"
                f"{' and others' if len(digests) > 4 else ''}"
            )
    for run in learned:
        run.config["replay"]["data"] = names[digest_of(run.config)]


def digest_of(config: Config) -> str:
    """Of the data that a run learned from; empty without any."""
    found = get(config, "names.data")
    return found if isinstance(found, str) else ""


def read(path: Path, name: str, note: Note) -> RunRecord:
    """
    Raises:
        RunFolderError: the folder has no readable configuration.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    status = attempt(folder.read_status, note) or {}
    summary = attempt(folder.read_summary, note) or {}
    starts = [start for start in attempt(folder.read_system, note) or [] if isinstance(start, dict)]
    step, updates = (status[key] if number(status.get(key)) else 0 for key in ("step", "updates"))
    numbers: Numbers = {}
    curve = attempt(lambda: read_curve(path, step, updates, numbers, note), note) or Curve(*(np.empty(0) for _ in Curve._fields))
    return RunRecord(
        name=name,
        path=path,
        config=config,
        task=short(get(config, "names.env") or get(config, "env.id") or "unnamed task"),
        agent=short(get(config, "names.agent") or "unnamed agent"),
        seed=short(config.get("seed")),
        state=status.get("state", "unknown"),
        remark=short(status.get("error") or status.get("stopped_early") or "", 300),
        data=data_of(summary.get("data") or {"name": get(config, "replay.data"), "digest": digest_of(config)}),
        step=int(step),
        updates=int(updates),
        seconds=wall_time(curve, summary),
        curve=curve,
        final=final(curve, summary.get("final")),
        commands=tuple(short(start.get("command") or "unknown", 500) for start in starts),
        machines=tuple(machine(start) for start in starts),
        codes=tuple(named(start.get("code")) for start in starts),
        resumed=any(start.get("resumed_from") for start in starts),
        ranks=next((int(start["ranks"]) for start in reversed(starts) if number(start.get("ranks"))), 1),
        numbers=numbers,
    )


def data_of(found: object) -> str:
    return short(f"{found.get('name')}, digest {found['digest']}", 300) if isinstance(found, dict) and found.get("digest") else ""


def attempt(reading: Callable[[], Any], note: Note) -> Any:
    """What a file holds; None, and a note, if it is damaged."""
    try:
        return reading()
    except RunFolderError as error:
        note(str(error))
        return None


def read_curve(path: Path, step: int, updates: int, numbers: Numbers, note: Note) -> Curve:
    """
    Args:
        step, updates: of status.json; together with metrics.jsonl they say how many updates had been made at an evaluation.
        numbers: takes those of the task.
    """
    rewards: dict[float, float] = {}
    damaged: list[int] = []
    for _, line in read_lines(path / "evaluations.jsonl", damaged.append):
        returns = line.get("returns")
        if number(line["step"]) and isinstance(returns, list) and returns and all(map(number, returns)):
            rewards[float(line["step"])] = float(np.mean(returns))
            keep_numbers(numbers, float(line["step"]), line.get("info"))
        else:
            damaged.append(-1)
    left_out("evaluations.jsonl", damaged, note)
    times, counts = {}, {0.0: 0.0, float(step): float(updates)}
    damaged = []
    for _, line in read_lines(path / "metrics.jsonl", damaged.append):
        if number(line["step"]) and number(line.get("time")):
            times[float(line["step"])] = float(line["time"])
            if number(line.get("train/n_updates")):
                counts[float(line["step"])] = float(line["train/n_updates"])
    left_out("metrics.jsonl", damaged, note)
    if rewards and not times:
        note("metrics.jsonl has no times: updates and wall clock are unknown")
    steps = np.array(sorted(rewards))
    return Curve(
        step=steps,
        updates=interpolated(steps, counts) if times else np.full(len(steps), np.nan),
        seconds=interpolated(steps, times) if times else np.full(len(steps), np.nan),
        reward=np.array([rewards[step] for step in steps]),
    )


def keep_numbers(numbers: Numbers, step: float, info: object) -> None:
    """Those of one evaluation: a list by name, with null for an episode that told none."""
    for name, values in info.items() if isinstance(info, dict) else ():
        told = [value for value in values if number(value)] if isinstance(values, list) else []
        if told and (short(name) in numbers or len(numbers) < NUMBERS):
            numbers.setdefault(short(name), {})[step] = float(np.mean(told))


def left_out(file: str, damaged: list[int], note: Note) -> None:
    if damaged:
        lines = ", ".join(str(line) for line in damaged[:5] if line > 0)
        note(f"{len(damaged)} damaged {'line' if len(damaged) == 1 else 'lines'} of {file} left out{f' (line {lines})' if lines else ''}")


def interpolated(steps: np.ndarray, known: dict[float, float]) -> np.ndarray:
    places = sorted(known)
    return np.interp(steps, places, [known[place] for place in places])


def final(curve: Curve, summary: object) -> Final | None:
    """The last evaluation: `final` of summary.json, unless the run went on after it; without it the last line of evaluations.jsonl."""
    last = curve.step[-1] if len(curve.step) else -1
    if isinstance(summary, dict) and number(summary.get("mean")) and number(summary.get("step")) and summary["step"] >= last >= 0:
        return Final(float(summary["mean"]), int(summary["step"]), "summary.json")
    return Final(float(curve.reward[-1]), int(last), "evaluations.jsonl") if last >= 0 else None


def wall_time(curve: Curve, summary: JsonObject) -> float:
    """`wall_seconds` of summary.json, unless the run went on after it; without it the time of the last evaluation."""
    seconds, steps = summary.get("wall_seconds"), summary.get("steps")
    known = number(seconds) and number(steps) and (not len(curve.step) or steps >= curve.step[-1])
    return float(seconds) if known else float(curve.seconds[-1]) if len(curve.seconds) else np.nan  # type: ignore[arg-type]


def machine(start: JsonObject) -> Machine:
    git = start.get("git")
    commit = short(git.get("commit") or "", 40) + (DIRTY if git.get("dirty") else "") if isinstance(git, dict) else ""
    parts = {"": start.get("cpu"), "GPU ": start.get("gpu"), "CUDA ": start.get("cuda"), "threads ": start.get("threads")}
    return Machine(
        commit=commit,
        packages=named(start.get("packages")),
        hardware=", ".join(word + short(value) for word, value in parts.items() if value) or "unknown",
    )


def named(found: Any) -> Named:
    """Names with versions or hashes, in order; of what a damaged file has in their place, none."""
    return tuple(sorted((short(name), short(value)) for name, value in list(found.items())[:NAMES])) if isinstance(found, dict) else ()


def number(value: Any) -> bool:
    """Whether a value from a file is a number that can be calculated with."""
    return type(value) in (int, float) and abs(value) <= MOST


def short(value: object, most: int = LONGEST) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"
