"""From overrides with several values to jobs: one for each combination, with a name that says what is its own."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from deeprl.errors import ConfigError
from deeprl.running.config.overrides import key_of, placed, swept

LONGEST = 120
"""Characters of a name. File systems take 255 bytes, and the log file adds some."""


class Job(NamedTuple):
    name: str
    """Name of the run folder within the sweep."""
    overrides: tuple[str, ...]


def expand(overrides: Sequence[str]) -> list[Job]:
    """The jobs of a grid, the last override varying fastest. Hydra's parser reads the overrides: a,b · choice(a,b) · range(0,3) · glob(*).

    Each job computes in one thread, unless an override sets `runtime.threads`.

    Raises:
        ConfigError: an override belongs to the sweep itself, cannot be expanded, or makes a job twice.
    """
    overrides = [placed(override) for override in overrides]
    for override in overrides:
        key = key_of(override)
        if key == "resume" or key.split(".")[0].split("/")[0] == "hydra":
            raise ConfigError(f"{override}: a sweep sets {key} itself. --dir names the folder of the sweep.")
        if not is_override(override):
            raise ConfigError(f"{override}: a stored sweep has no flag, no resolver and nothing of Hydra. Give the value itself.")
    if all(key_of(override) != "runtime.threads" for override in overrides):
        overrides = [*overrides, "runtime.threads=1"]
    values = [_values(override) for override in overrides]
    keys = [override.split("=", 1)[0].lstrip("+~") for override in overrides]
    for key, choices in zip(keys, values):
        if len(choices) > 1 and keys.count(key) > 1:
            raise ConfigError(f"{key} is given twice, and once with several values: leave one out.")
    varying = [place for place, choices in enumerate(values) if len(choices) > 1]
    labels = _labels([keys[place] for place in varying])
    combinations = list(itertools.product(*values))
    names = [_name([f"{label}={_value(chosen[place])}" for label, place in zip(labels, varying)]) for chosen in combinations]
    shared = Counter(name.lower() for name in names)  # macOS does not distinguish a from A in file names
    unclear = [shared[name.lower()] > 1 or len(name) > LONGEST or name.endswith(".log") for name in names]
    return [Job(_marked(name, chosen) if mark else name, chosen) for name, chosen, mark in zip(names, combinations, unclear)]


def is_override(word: object) -> bool:
    """Whether a word of a stored file is one that a sweep or a study may give to its jobs: no flag, nothing of Hydra's own part of a
    configuration, by which Hydra calls any function, and no resolver (${oc.env:HOME}), which reads the environment or makes folders."""
    if not isinstance(word, str) or word.startswith("-") or ":" in word.partition("${")[2]:
        return False
    return "hydra" not in re.split(r"[^\w-]+", word.partition("=")[0])


def _values(override: str) -> list[str]:
    found = swept(override, glob=True)
    if not found:
        raise ConfigError(f"{override} cannot be enumerated, so it is no grid: give values, as in a,b or range(0,3).")
    if len(set(found)) < len(found):
        raise ConfigError(f"{override} gives {Counter(found).most_common(1)[0][0]} twice.")
    return found


def _labels(keys: Sequence[str]) -> list[str]:
    """The shortest ends of keys that still differ: lr and seed, or actor_optimizer.lr and optimizer.lr."""
    parts = [re.split(r"[./@]", key) for key in keys]

    def ends(length: int) -> list[str]:
        return [_plain(".".join(part[-length:])) for part in parts]

    lengths = range(1, max(map(len, parts), default=1) + 1)
    return next((ends(length) for length in lengths if len(set(ends(length))) == len(keys)), ends(lengths[-1]))


def _value(override: str) -> str:
    return _plain(override.partition("=")[2])


def _plain(text: str) -> str:
    """In letters that every file system and shell takes as they are."""
    return re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).strip("_")


def _name(parts: Sequence[str]) -> str:
    return ",".join(parts) or "run"


def _marked(name: str, overrides: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:8]
    return f"{name[: LONGEST - 9]}-{digest}"
