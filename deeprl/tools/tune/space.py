"""The search space of a study: overrides in Hydra's syntax, of which those with several values are parameters of Optuna.

a,b · choice(a,b) · glob(*)          one of these
range(1,6) · range(0,1,0.25)         whole numbers, steps; the end is left out
interval(0,1) · int(interval(1,5))   real numbers, whole numbers; the ends belong to it
tag(log,interval(1e-5,1e-2))         on a logarithmic scale
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from deeprl.errors import ConfigError, on_one_line
from deeprl.running.config.overrides import key_of, placed, swept
from deeprl.tools.sweep.grid import Job, is_override

SYNTAX = "options are a,b; an interval is interval(0,1), of whole numbers int(interval(1,5)), logarithmic tag(log,interval(1e-5,1e-2))"
ELSEWHERE = {"seed": "--seeds N trains N seeds a trial", "env": "a study tunes for one environment", "budget": "trials share one budget"}
"""Keys that cannot be parameters, and why."""


@dataclass(frozen=True)
class Space:
    fixed: tuple[str, ...]
    """Overrides of every trial, without the seed."""
    seed: int
    """The first seed of every trial."""
    heads: dict[str, str]
    """Parameter -> what stands before = in its override, which may begin with +."""
    distributions: dict[str, BaseDistribution]

    def settings(self, values: Mapping[str, object]) -> list[str]:
        """The overrides of the parameters. Real numbers are rounded to six digits, which people can read, and trained with as written."""
        return [f"{self.heads[name]}={_text(values[name])}" for name in self.heads]

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether these are values of all parameters, each within its range."""
        if values.keys() != self.distributions.keys():
            return False
        try:
            return all(_holds(each, values[name]) for name, each in self.distributions.items())
        except (ValueError, TypeError):
            return False

    def job(self, name: str, values: Mapping[str, object], seed: int) -> Job:
        """A run in one thread, unless an override sets `runtime.threads`."""
        threads = [] if any(key_of(override) == "runtime.threads" for override in self.fixed) else ["runtime.threads=1"]
        return Job(name, (*self.fixed, *self.settings(values), f"seed={seed}", *threads))

    def corners(self) -> list[Job]:
        """Jobs that show every option, both ends of every interval, and a number with a fraction of each that has one, once. They are
        checked before a study starts."""
        ends = {name: _ends(distribution) for name, distribution in self.distributions.items()}
        first = {name: values[0] for name, values in ends.items()}
        other = [{**first, name: value} for name, values in ends.items() for value in values[1:]]
        return [self.job(", ".join(self.settings(values)), values, self.seed) for values in (first, *other)]

    def remedy(self, message: str) -> str:
        """What to write for a key that takes whole numbers where an interval gives others; "" if the message says nothing of it."""
        for name, it in self.distributions.items():
            if isinstance(it, FloatDistribution) and it.step is None and f"{name}=" in message and "a whole number" in message:
                whole = f"int(interval({math.ceil(it.low)},{math.floor(it.high)}))"
                value = f"tag(log,{whole})" if it.log else whole
                return f" An interval gives real numbers; for whole ones write {self.heads[name]}={value}."
        return ""

    def start(self, words: Sequence[str]) -> dict[str, object]:
        """The values that --start gives to parameters.

        Raises:
            ConfigError: a word names no parameter, or a value outside of its range.
        """
        values = {}
        for word in words:
            name, _, text = word.partition("=")
            distribution = self.distributions.get(name)
            if distribution is None:
                raise ConfigError(f"--start {word}: {name} is no parameter of this study. They are {', '.join(self.distributions)}.")
            try:
                written = OverridesParser.create().parse_override(word).get_value_element_as_str()  # as in the choices: 1e3 is 1000.0
                value: Any = written if isinstance(distribution, CategoricalDistribution) else float(text)
                if not _holds(distribution, value):
                    raise ValueError
            except (ValueError, HydraException):
                raise ConfigError(f"--start {word}: {text} is not within {name}={distribution}.") from None
            values[name] = int(value) if isinstance(distribution, IntDistribution) else value
        return values


def parse(overrides: Sequence[str]) -> Space:
    """
    Raises:
        ConfigError: an override cannot be read, belongs to the study itself, or no override has several values.
    """
    fixed, seed = [], 0
    heads, distributions = dict[str, str](), dict[str, BaseDistribution]()
    for override in map(placed, overrides):
        head, key = override.split("=", 1)[0], key_of(override)
        if key == "resume" or key.split(".")[0].split("/")[0] == "hydra":
            raise ConfigError(f"{override}: a study sets {key} itself. --dir names its folder.")
        if not is_override(override):
            raise ConfigError(f"{override}: a stored study has no flag, no resolver and nothing of Hydra. Give the value itself.")
        if head.startswith("~"):
            raise ConfigError(f"{override}: a study cannot leave keys out, because the YAML file with the best settings could not.")
        try:
            parsed = OverridesParser.create().parse_override(override)
        except HydraException as error:
            raise ConfigError(f"{override}: {on_one_line(error)}; {SYNTAX}.") from error
        if head.lstrip("+") in distributions:
            raise ConfigError(f"{key} is given twice: leave one out.")
        if not parsed.is_sweep_override():
            if key == "seed":
                seed = _seed(override, parsed.value())
            else:
                fixed.append(override)
        elif key in ELSEWHERE:
            raise ConfigError(f"{override}: {key} is no parameter of a study, because {ELSEWHERE[key]}.")
        else:
            heads[head.lstrip("+")], distributions[head.lstrip("+")] = head, _distribution(override, parsed.value())
    if doubled := {override.split("=", 1)[0].lstrip("+") for override in fixed} & heads.keys():
        raise ConfigError(f"{min(doubled)} is given twice: leave one out.")
    if not heads:
        raise ConfigError(f"deeprl tune needs a key with several values, as in agent.optimizer.lr=tag(log,interval(1e-5,1e-2)): {SYNTAX}.")
    return Space(tuple(fixed), seed, heads, distributions)


def _seed(override: str, value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ConfigError(f"{override} is out of range: it takes a whole number of at least 0, the first seed of each trial.")
    return value


def _distribution(override: str, value: object) -> BaseDistribution:
    low: Any
    high: Any
    try:
        tags: set[str] = getattr(value, "tags", set())  # glob(*) has none
        if unknown := tags - {"log"}:
            raise ValueError(f"unknown tag {min(unknown)}")
        if tags and not isinstance(value, IntervalSweep):
            raise ValueError("the tag log is for an interval")
        if isinstance(value, IntervalSweep):
            low, high = value.start, value.end
            kind = IntDistribution if type(low) is type(high) is int else FloatDistribution
            return kind(low, high, log="log" in tags)
        if isinstance(value, RangeSweep):
            first, step = Decimal(str(value.start)), Decimal(str(value.step))
            numbers = [first + place * step for place, _ in enumerate(value.range())]  # exact, because Optuna leaves out 0.8999… for 0.9
            if type(value.start) is type(value.step) is int:
                return IntDistribution(int(min(numbers)), int(max(numbers)), step=int(abs(step)))
            return FloatDistribution(float(min(numbers)), float(max(numbers)), step=float(abs(step)))
        options = [found.partition("=")[2] for found in swept(override, glob=True)]
        if len(set(options)) < len(options):
            raise ValueError("an option is given twice")
        return CategoricalDistribution(options)
    except (ValueError, IndexError, TypeError) as error:
        raise ConfigError(f"{override} is no range to search: {error}; {SYNTAX}.") from error


def _ends(distribution: BaseDistribution) -> list[object]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    ends = dict.fromkeys([distribution.low, distribution.high])
    if isinstance(distribution, FloatDistribution) and len(ends) == 2 and all(float(end).is_integer() for end in ends):
        ends[distribution.low + (distribution.step or 0.5)] = None  # a key that takes whole numbers takes both ends
    return list(ends)


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is one that the distribution may give."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    place = (value - distribution.low) / (distribution.step or 1)
    return distribution.low <= value <= distribution.high and (not distribution.step or abs(place - round(place)) < 1e-8)


def _text(value: object) -> str:
    return repr(float(f"{value:.6g}")) if isinstance(value, float) else str(value)
