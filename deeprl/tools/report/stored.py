"""Runs as a file of stored lines tells them: JSON, a list with one object a run, as in benchmarks/results. Such a file may come from a
stranger: a line's overrides are shown and compared as they stand. Nothing is composed of them, because that would import what they name.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from deeprl.errors import RunFolderError
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import JSON_LIMIT
from deeprl.system.files import read_regular, said
from deeprl.system.strict_json import JsonObject, strict_json
from deeprl.tools.report.groups import NAMES
from deeprl.tools.report.runs import Curve, Machine, Note, RunRecord, final, number, short

LINES, WORDS, LEVELS = 500, 500, 50
"""Most lines of a file, because a report compares each group with each other; most overrides of a line, and most levels of a key."""
TEXTS = ("env", "agent", "mode", "machine", "commit", "overrides")
"""Texts of a line that have a place of their own in a report. The others, such as the `name` of a recipe, tell lines apart."""


def is_stored(path: Path) -> bool:
    """Whether a path that was named is to be read as a file of stored lines."""
    return path.suffix == ".json" and path.is_file()


def read_files(paths: Iterable[Path], note: Note) -> list[RunRecord]:
    """The runs of all files, each file once. A file that cannot be read is noted."""
    runs = []
    for path in {path.resolve(): path for path in paths}.values():
        try:
            runs += read_stored(path, note)
        except RunFolderError as error:
            note(str(error))
    return runs


def read_stored(path: Path, note: Note) -> list[RunRecord]:
    """The runs of a file of stored lines. Lines without a learning curve, and damaged ones, are noted and left out.

    Raises:
        RunFolderError: the file is none of stored lines, or holds more than `LINES`.
    """
    try:
        lines = strict_json(read_regular(path, JSON_LIMIT))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {said(error)}") from None
    if not isinstance(lines, list):
        raise RunFolderError(f"{path} holds no stored lines: that is a list, [{{…}}, {{…}}], with one object a run")
    if len(lines) > LINES:
        raise RunFolderError(f"{path} holds {len(lines):,} lines, and a report takes {LINES:,}: name a file with those to compare")
    runs: list[RunRecord] = []
    without: list[int] = []
    for place, line in enumerate(lines, 1):
        if not isinstance(line, dict) or "curve" not in line:
            without.append(place)
            continue
        try:
            runs.append(stored_run(line, f"{path}#{place}", path))
        except ValueError as error:
            note(f"line {place} of {path} is left out: {error}")
    if without:
        places = ", ".join(map(str, without[:5])) + (" …" if len(without) > 5 else "")
        note(f"{len(without)} of {len(lines)} lines of {path} hold no learning curve and are left out: {places}")
    return runs


def stored_run(line: JsonObject, name: str, path: Path) -> RunRecord:
    """
    Args:
        line: "env" is the task, "curve" has a list [step, mean return] for each evaluation. It may have "agent", "seed", "steps", "mode",
            "final", "wall_seconds", "machine", "commit", and "overrides", the words behind train.py as a list or as one text.

    Raises:
        ValueError: one of these is damaged.
    """
    if not isinstance(line.get("env"), str):
        raise ValueError("its env is no name of a task")
    points, words = line["curve"], words_of(line)
    if not isinstance(points, list) or not points or not all(map(is_point, points)):
        raise ValueError("its curve is no list of [step, mean return]")
    reward = {float(step): float(mean) for step, mean in points}
    step = np.array(sorted(reward))
    unknown = np.full(len(step), np.nan)
    curve = Curve(step, unknown, unknown, np.array([reward[each] for each in step]))
    last, steps, seconds = int(step[-1]), line.get("steps"), line.get("wall_seconds")
    ended = final(curve, line.get("final"))
    return RunRecord(
        name=name,
        path=path,
        config=configuration(line, words),
        task=short(line["env"]),
        agent=short(line.get("agent") or "unnamed agent"),
        seed=short(line.get("seed")),
        state="finished" if not number(steps) or last >= steps else "unknown",  # type: ignore[operator]
        remark="",
        data="",
        step=last,
        updates=None,
        seconds=float(seconds) if number(seconds) else np.nan,  # type: ignore[arg-type]
        curve=curve,
        final=ended and ended._replace(source=short(path.name)),
        commands=(short(shlex.join(["python", "train.py", *words]), 500),) if words else (),
        machines=(Machine(short(line.get("commit") or "", 40), (), short(line.get("machine") or "unknown")),),
        resumed=False,
    )


def is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(number, value))


def words_of(line: JsonObject) -> list[str]:
    """
    Raises:
        ValueError: the overrides are no words, or more than `WORDS`.
    """
    found = line.get("overrides") or []
    words = shlex.split(found) if isinstance(found, str) else found
    if not isinstance(words, list) or len(words) > WORDS or not all(isinstance(word, str) for word in words):
        raise ValueError(f"its overrides are no list of at most {WORDS:,} words")
    if any(word.partition("=")[0].count(".") >= LEVELS for word in words):
        raise ValueError(f"its overrides have a key of more than {LEVELS} levels")
    return words


def configuration(line: JsonObject, words: list[str]) -> Config:
    """What a line says about its configuration, each override at its key. Defaults are not in it."""
    told = {key: short(value) for key, value in list(line.items())[:WORDS] if isinstance(value, str) and key not in TEXTS}
    config = {**told, "names": {"env": short(line["env"]), "agent": short(line.get("agent"))}}
    given: dict[str, Any] = dict(word.lstrip("+").partition("=")[::2] for word in words)
    given |= {"seed": line.get("seed"), "steps": line.get("steps")}
    given |= {f"names.{slot}": given.pop(slot) for slot in NAMES if slot in given}
    if "accelerate" in given:  # an option has the name of its mode
        given["accelerate.mode"] = given.pop("accelerate")
    for key in sorted(given, key=lambda key: key.count(".")):
        put_at(config, key, scalar(given[key]))
    return config


def put_at(config: Config, key: str, value: Any) -> None:
    """Put a value at its key, `a.b` into the section `a`; under the whole key where `a` is an option's name, as in collect=ray."""
    *sections, last = key.split(".")
    place = config
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            config[key] = value
            return
    place[last] = value


def scalar(value: Any) -> Any:
    """A number, true, false or null out of an override's text; other text stays."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            found = strict_json(value)
            if found is None or isinstance(found, bool) or number(found):
                return found
        return short(value, 500)
    return value if value is None or number(value) else short(value)
