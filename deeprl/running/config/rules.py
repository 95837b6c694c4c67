"""The fixed part of a configuration: the keys that every run has, and their ranges."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from deeprl.errors import ConfigError, UnknownNameError
from deeprl.running.runs.config_file import CHANGEABLE_BY_RESUME, Config, flatten

MOST = 2**53
"""Largest number, because schedules and JSON use floats, which are not exact for larger whole numbers."""
STEPS = 10**12 - 1
"""Largest step, because folders and films have it in their names with twelve digits."""

ABSENT = object()
"""Stands for the value of a key that is not there: `seed=` sets an empty text"""

EPISODES = 100_000
"""Most episodes of an evaluation, because its line must be read back (`LINE_LIMIT`), and a stranger's run must end"""


class Range(NamedTuple):
    kind: type
    """int or float; a float may be written as an integer."""
    low: float
    high: float | None = None
    """None: `MOST`"""
    optional: bool = False
    fraction: bool = False
    """A float in (0, 1] is a fraction of `steps`, turned into steps at start."""
    open_low: bool = False

    def takes(self, value: object) -> bool:
        if value is None:
            return self.optional
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        if self.fraction and isinstance(value, float) and 0 < value <= 1:
            return True
        whole = self.kind is float or float(value).is_integer()
        return whole and (value > self.low if self.open_low else value >= self.low) and value <= (MOST if self.high is None else self.high)


RULES: dict[str, Range] = {
    "seed": Range(int, 0, 2**31 - 1),
    "steps": Range(int, 1, STEPS),
    "discount": Range(float, 0, 1),
    "evaluation.every": Range(int, 1, fraction=True, optional=True),
    "evaluation.episodes": Range(int, 1, EPISODES),
    "evaluation.final_episodes": Range(int, 1, EPISODES),
    "evaluation.num": Range(int, 1, 4096),
    "checkpoint.every": Range(int, 1, fraction=True, optional=True),
    "checkpoint.minutes": Range(float, 0, optional=True, open_low=True),
    "checkpoint.keep": Range(int, 1),
    "checkpoint.replay_actions": Range(int, 0),
    "log.every": Range(int, 1, fraction=True),
    "stop.return": Range(float, -float("inf"), optional=True),
    "stop.hours": Range(float, 0, optional=True, open_low=True),
    "runtime.threads": Range(int, 1, 256, optional=True),
    "runtime.lag": Range(int, 0, 1),
    "runtime.watchdog": Range(float, 0, 525_600, optional=True, open_low=True),
    "replay.learning_starts": Range(int, 0),
    "replay.ratio": Range(float, 0, open_low=True),
    "replay.capacity": Range(int, 1),
    "replay.batch_size": Range(int, 1, 2**20),
    "replay.n_step": Range(int, 1),
    "env.num": Range(int, 1, 4096),
}
"""Ranges of the common keys. Those of `replay` hold where its option has them. A choice checks its own keys when it is built."""


SWITCHES = ("checkpoint.replay", "runtime.deterministic", "evaluation.video")
"""Keys that take true or false"""
FIXED = (*RULES, *SWITCHES, "log.info", "device", "resume", "init_from")
"""Every key of configs/train.yaml, and the keys of `env` and `replay` that `RULES` checks."""


IDENTITY = (
    "agent", "env", "seed", "replay", "collect", "discount", "device", "accelerate", "runtime", "names"
)  # fmt: skip
"""Keys that tell runs apart: `deeprl resume` refuses to change them."""
RESUMABLE = ("steps", "evaluation", "checkpoint", "log", "stop", "logger", *CHANGEABLE_BY_RESUME)
"""Keys that `deeprl resume` may change: how long the run trains, and what it records"""
LEARNING = tuple(key for key in IDENTITY if key not in ("device", "accelerate", "runtime"))
"""Keys of `IDENTITY` that affect what is learned. The others affect only where and how it is computed."""


HOW = ("last", "sum", "mean")
"""Ways to gather a number of `info` over an episode"""


def asked_info(config: Config) -> dict[str, str]:
    """`log.info` as name: how. A name alone is short for its last value. `is_success` stands beside what is asked; [] asks for nothing.

    Raises:
        ConfigError: it is no list of names, or asks for another way than those of `HOW`.
    """
    asked = get(config, "log.info", ["is_success"])  # older runs lack the key
    if isinstance(asked, list) and all(isinstance(word, str) for word in asked):
        found = {name: how or "last" for name, _, how in (word.partition(":") for word in asked)}
        if all(how in HOW for how in found.values()):
            return {"is_success": "last", **found} if found else found
    raise ConfigError(f"log.info={asked!r:.200} is out of range: it takes a list of names, [x, y:sum, z:mean] ({', '.join(HOW)}).")


def get(config: Config, path: str, default: object = None) -> Any:
    for key in path.split("."):
        if not isinstance(config, dict) or key not in config:
            return default
        config = config[key]
    return config


def put(config: Config, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config[key]
    config[last] = value


def is_within(key: str, parent: str) -> bool:
    """Whether `key` is `parent` or lies below it."""
    return f"{key}.".startswith(f"{parent}.")


def nearest(word: str, candidates: Iterable[str], proposals: Mapping[str, str] | None = None) -> str:
    """' Did you mean …?' with the nearest candidate, or '' if none is near. Capitals do not count.

    Args:
        proposals: what is proposed for a candidate; null: the candidate itself.
    """
    compared = {each.lower(): each for each in candidates}
    found = difflib.get_close_matches(word.lower(), compared, n=1, cutoff=0.6)
    if not found:
        return ""
    near = compared[found[0]]
    return f" Did you mean {near if proposals is None else proposals[near]}?"


def check(config: Config) -> None:
    """
    Raises:
        UnknownNameError: a key of `RULES` is missing.
        ConfigError: it is of the wrong kind or out of range.
    """
    _check_sections(config)
    for key, rule in RULES.items():
        value = get(config, key, default=ABSENT)
        if value is ABSENT and key.startswith("replay."):  # each option has keys of its own, and its class asks for them
            continue
        if value is ABSENT:
            raise UnknownNameError(f"{key} is missing.")
        if not rule.takes(value):
            most = f" and at most {MOST:.0f}" if rule.high is None and isinstance(value, (int, float)) and value > MOST else ""
            raise ConfigError(f"{key}={value!r} is out of range: it takes {_words(rule)}{most}.{_meant(key, value)}")
    for key in SWITCHES:
        value = get(config, key)
        if not isinstance(value, bool):
            raise ConfigError(f"{key}={value!r} is out of range: it takes true or false.")
    asked_info(config)
    _check_device(config["device"])
    if config["resume"] not in (False, "auto"):
        raise ConfigError(
            f"resume={config['resume']!r} is out of range: it takes false or auto (`deeprl resume RUN` continues a given run)."
        )
    if not isinstance(config.get("init_from"), str | None):
        raise ConfigError(f"init_from={config['init_from']!r:.100} is out of range: it takes a run folder, or null.")
    if config["stop"]["return"] is not None and config["evaluation"]["every"] is None:
        raise ConfigError(
            f"stop.return={config['stop']['return']} is compared with the evaluations of the run, and evaluation.every=null makes none "
            "before its end: set evaluation.every, or leave stop.return out."
        )
    replay = config["replay"]
    if replay.get("capacity", math.inf) < replay.get("batch_size", 0):
        raise ConfigError(
            f"replay.capacity={replay['capacity']} is less than replay.batch_size={replay['batch_size']}: "
            "a batch could never be drawn. Raise the capacity or lower the batch size."
        )


def _check_sections(config: Config) -> None:
    for section in dict.fromkeys(key.rpartition(".")[0] for key in (*RULES, *SWITCHES) if "." in key):
        if not isinstance(value := config.get(section, {}), dict):
            keys = ", ".join(key for key in (*RULES, *SWITCHES) if key.startswith(f"{section}."))
            raise ConfigError(f"{section}={value!r}: {section} is no single value, but has the keys {keys}: set these.")


def _check_device(device: object) -> None:
    name = str(device)
    if not re.fullmatch(r"[a-z]+(:\d+)?", name):
        example = f" Write device=cuda:{name}." if name.isdecimal() else ""
        raise ConfigError(f"device={device!r:.100} is out of range: it takes cpu, cuda, or a GPU by its number, cuda:0.{example}")
    if name.split(":")[0] in ("mps", "xpu"):
        raise ConfigError(f"device={name} is not supported, because copies to a device are CUDA's: take cpu or cuda.")


def _meant(key: str, value: object) -> str:
    """ " Write steps=10000." for 10k, 10 000 and their like."""
    found = re.fullmatch(r"(\d[\d ]*\.?\d*) ?([kKmM]?)", value) if isinstance(value, str) else None
    if found is None:
        return ""
    number = round(float(found[1].replace(" ", "")) * {"": 1, "k": 1_000, "m": 1_000_000}[found[2].lower()], 3)
    return f" Write {key}={number:.15g}."


def _words(rule: Range) -> str:
    kind = "a whole number" if rule.kind is int else "a number"
    low = "" if rule.low == -float("inf") else f" {'above' if rule.open_low else 'of at least'} {rule.low}"
    words = f"{kind} between {rule.low} and {rule.high}" if rule.high is not None else f"{kind}{low}"
    return words + (", or a share of steps, a fraction in (0, 1]" if rule.fraction else "") + (", or null" if rule.optional else "")


def with_fractions(config: Config) -> list[str]:
    """Keys that take steps or a share of `steps`."""
    schedules = [
        key for key, _ in flatten(config) if key.startswith(("agent.", "replay.")) and key.endswith((".duration", ".schedule.decay"))
    ]
    return [key for key, rule in RULES.items() if rule.fraction] + schedules


def finalise(config: Config) -> Config:
    """Check the fixed part and turn shares of `steps` into steps, so that extending a run changes no schedule."""
    check(config)
    steps = config["steps"]
    for key in with_fractions(config):
        value = get(config, key)
        if isinstance(value, float) and 0 < value <= 1:
            put(config, key, max(1, round(value * steps)))
        elif isinstance(value, float) and value > 1 and not value.is_integer():
            raise ConfigError(
                f"{key}={value!r} is out of range: it takes a whole number of steps, or a share of steps, a fraction in (0, 1]."
            )
    for key, rule in RULES.items():
        value = get(config, key)
        if rule.kind is int and isinstance(value, float):
            put(config, key, int(value))
    return config
