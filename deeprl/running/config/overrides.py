"""Checks of the overrides of a command line, before they are composed.

Hydra itself accepts two options for one slot (it takes the last), a key that no part reads, and a run without a slot that every run needs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, ValueType
from hydra.errors import HydraException

from deeprl.errors import ConfigError
from deeprl.running.config import tuned
from deeprl.running.config.menu import groups, options
from deeprl.running.config.rules import FIXED, is_within, nearest
from deeprl.running.runs.config_file import flatten
from deeprl.running.runs.moved import renamed
from deeprl.system.terminal import front_door

REQUIRED = ("env", "agent", "replay", "accelerate", "logger")
"""Slots that every run needs. The classes of the parts check the keys below them."""
FREE = ("experiment", "budget")
"""Slots that a run may lack"""
OPEN = ("env.kwargs",)
"""Keys of dictionaries whose entries the user chooses freely, without a + in front."""
PATHS = ("hydra.run.dir", "hydra.sweep.dir")
"""Keys whose value is one path, which may have any letters"""
RUNS = ("init_from", "replay.data")
"""Keys whose value is a run folder; that of a sweep's job, runs/sweep/agent=dqn,seed=0, has letters that Hydra does not take"""


@lru_cache(maxsize=1000)
def parsed(override: str) -> Override:
    """As Hydra reads it: once, because that takes half a millisecond, and several checks ask.

    Raises:
        HydraException: it does not fit the grammar.
    """
    return OverridesParser.create().parse_override(override)


def key_of(override: str) -> str:
    """ "agent.chain.length" of "+agent.chain.length=3"."""
    return override.split("=", 1)[0].lstrip("+~").split("@")[0]


def keys_of(overrides: Iterable[str]) -> set[str]:
    """The keys that overrides set; of `agent.chain={length: 3}` both agent.chain and agent.chain.length, of
    `agent/torso@agent.actor_torso=mlp` agent/actor_torso."""
    found = set()
    for override in overrides:
        key, _, value = override.partition("=")
        found.add(key.partition("@")[2].replace(".", "/") or key_of(override))
        if value.startswith("{"):
            entries = parsed(f"{key}={value}").value()
            found |= {place for place, _ in flatten({key_of(override): entries})} if isinstance(entries, dict) else set()
    return found


def given_twice(overrides: Iterable[str]) -> str:
    """A line about keys that overrides give several values, of which the last counts; "" if there are none."""
    values: dict[str, list[str]] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        if not value.startswith("{"):  # whose entries join those of before
            values.setdefault(key.lstrip("+"), []).append(value)
    found = [f"{key} is given {len(each)} times, and {each[-1]} counts" for key, each in values.items() if len({*each}) > 1]
    return "; ".join(found)


def placed(override: str) -> str:
    """`agent/actor/torso=mlp`, which chooses the torso of the actor, with the package that Hydra wants:
    `agent/torso@agent.actor_torso=mlp`. Other overrides stay."""
    key, equals, value = override.partition("=")
    room, *rest = key.split("/")
    known = groups() if len(rest) == 2 else []
    if not rest or f"{room}/{rest[-1]}" not in known or key in known or not rest[0].isidentifier():
        return override
    network, slot = rest
    return f"{room}/{slot}@{room}.{network}_{slot}{equals}{value}"


def unplaced(override: str) -> str:
    """The way back of `placed`: `agent/actor/torso=mlp`."""
    group, _, rest = override.partition("@")
    (room, _, slot), (package, equals, value) = group.rpartition("/"), rest.partition("=")
    network = package.removeprefix(f"{room}.").removesuffix(f"_{slot}")
    return f"{room}/{network}/{slot}{equals}{value}" if package == f"{room}.{network}_{slot}" else override


def for_hydra(override: str) -> str:
    """`override` as Hydra's grammar has it, see `placed`: `env.kwargs.size=5` -> `++env.kwargs.size=5`, because the entry is new, and
    `hydra.run.dir=it's` -> `hydra.run.dir='it\\'s'`. A value that is quoted already stays. Idempotent."""
    override = placed(override)
    key, equals, value = override.partition("=")
    if any(is_within(key, name) for name in OPEN):
        return f"++{override}"
    if (key in PATHS and equals and not _is_text(override)) or (key in RUNS and "=" in value and fault_of_grammar(override)):
        return f"{key}={quoted(value)}"
    return override


def _is_text(override: str) -> bool:
    """Whether Hydra reads a value as text, or as null, and not as a number, a list, several values, or a fault of grammar."""
    try:
        found = parsed(override)
    except HydraException:
        return False
    return not found.is_sweep_override() and isinstance(found.value(), str | QuotedString | None)


def check_words(overrides: list[str]) -> None:
    """
    Raises:
        ConfigError: an override cannot be right; the message names the first one.
    """
    known, chosen = groups(), dict[str, str]()
    for index, override in enumerate(overrides):
        target = override.split("=", 1)[0]  # together with a package such as "@agent.actor_reduce"
        key, value = key_of(override), override.partition("=")[2]
        slot = key in known
        if not key or ("=" not in override and not override.startswith("~")):
            spaced = " Write it without spaces beside the =." if "=" in overrides else torn(overrides, index) or meant_option(override)
            raise ConfigError(f"{override} is not of the form key=value (see --help).{spaced}")
        if not slot and "/" in key and "." in key and key.rpartition(".")[0] in known:
            raise ConfigError(f"{override}: a key has dots: {override.replace('/', '.', key.count('/'))}")
        if target != target.strip():
            raise ConfigError(f"{override!r} has a space in front of the =: write {target.strip()}={value.strip()}")
        if key in REQUIRED and (override.startswith("~") or value in ("", "null", "~")):
            raise ConfigError(f"{override}: every run needs {key}. `deeprl list {key}` shows its options.")
        if slot and key not in FREE and (override.startswith("~") or value in ("", "null", "~")):
            raise ConfigError(f"{override}: {key} is a slot, and every run has an option of it: {', '.join(options(key))}.")
        if override.startswith("~") and (key in FIXED or key.endswith("._target_")):
            raise ConfigError(f"{override}: every run needs {key}.")
        if override.startswith("+") and slot:
            raise ConfigError(f"{override}: a slot is chosen without +: {override.lstrip('+')}")
        if override.startswith("+") and not slot and key not in FIXED and key.split(".")[0] not in (*REQUIRED, "hydra"):
            raise ConfigError(f"{override}: there is no key {key}.{renamed(key) or nearest(key, FIXED)}")
        if slot and value.startswith("["):
            raise ConfigError(f"{override}: {key} takes one option. For a run with each option, put -m first: -m {key}={value.strip('[]')}")
        if slot and " " in value.strip() and "=" in value:
            raise ConfigError(f"two settings stand in one pair of quotes, {override!r}: write each as a word of its own")
        if slot or "/" in key:
            require_option(override)
        if slot and chosen.setdefault(target, value) != value:
            raise ConfigError(f"{key} is given twice, as {chosen[target]} and as {value}: leave one out.")
        named = key.replace(".", "/")
        family = named.startswith("env/") and named != "env/protocol"  # of environments: env.parts is a key of some, env/parts no slot
        dotted = named in known and not family and "." in key and "=" in override
        if dotted and not value.startswith(("{", "$")) and not has_number(overrides, key) and has_slot(overrides, named):
            raise ConfigError(f"{override}: {key} is a slot, and an option of it is chosen with a slash: {key.replace('.', '/')}={value}")
        if sweeps(override):
            written = "" if slot else f" A list is written {key}=[{value}]."
            if re.fullmatch(r"-?0,\d+", value):
                written = f" A decimal number has a point: {key}={value.replace(',', '.')}."
            words = shlex.join(word for word in overrides if not word.startswith("hydra."))
            raise ConfigError(f"{override} is a sweep: `deeprl sweep {words}`, or `{front_door()} -m {words}`.{written}")


def torn(overrides: list[str], index: int) -> str:
    """A sentence about a word without =, if it is the rest of a value with spaces, or a value itself; else empty."""
    first = next((i for i in reversed(range(index)) if "=" in overrides[i]), index)
    if is_open(overrides[first]):
        last = next((i for i in range(index, len(overrides)) if not is_open(" ".join(overrides[first : i + 1]))), index)
        return f" A value with spaces is quoted: {shlex.quote(' '.join(overrides[first : last + 1]))}"
    value = overrides[index + 1 : index + 2]
    meant = "." in overrides[index] or (value and value[0] in options(overrides[index]))  # a key, or a slot in front of its option
    return f" Write {overrides[index]}={value[0]}" if meant and value and "=" not in value[0] else ""


def is_open(text: str) -> bool:
    """Whether a bracket of it is not closed."""
    return text.count("[") + text.count("{") > text.count("]") + text.count("}")


def has_number(overrides: list[str], key: str) -> bool:
    """Whether an option that they choose has a value under a key that is a slot elsewhere."""
    group, _, name = key.partition(".")
    chosen = [override.partition("=")[2] for override in overrides if override.startswith(f"{group}=")]
    return any(name in tuned.values(group, option) for option in chosen)


def has_slot(overrides: list[str], slot: str) -> bool:
    """Whether the agent that they choose has a slot: agent/loss is one of a few agents, and agent.loss=huber another slip with DQN."""
    agents = [override.partition("=")[2] for override in overrides if override.startswith("agent=")]
    lists = [tuned.slots("agent", each) for agent in agents for each in tuned.lineage(agent)]
    return not agents or not slot.startswith("agent/") or any(slot in each for each in lists)


def by_name(name: str = "mine") -> str:
    """How a file with settings of one's own is chosen, for the end of a message.

    Args:
        name: of the file, with or without its ending and its folder.
    """
    *above, option = Path(re.sub(r"\.ya?ml$", "", name)).parts
    folder = Path("FOLDER")
    if "experiment" in above:
        at = above.index("experiment")
        folder, option = Path(*above[:at]), "/".join([*above[at + 1 :], option])
    return f"Settings of your own stand in {folder}/experiment/{option}.yaml, and are chosen with --config-dir {folder} experiment={option}"


def meant_option(word: str) -> str:
    """' Did you mean agent=dqn?' for dqn: an option without its slot; how a file is chosen, for mine.yaml; '' for others."""
    if word.endswith((".yaml", ".yml")):
        return f" {by_name(word)}."
    slots = ["agent", "env", *(group for group in groups() if not group.startswith(("tuned", "env")) and group != "agent")]
    found = [f"{slot}={each}" for slot in slots for each in options(slot) if word and word in (each, each.rpartition("/")[2])]
    return f" Did you mean {found[0]}?" if found else ""


def require_option(override: str) -> None:
    """
    Raises:
        ConfigError: the option of a slot is a path, by which Hydra reads any file of the machine: `experiment=../../stranger/mine`. Such a
            file may set Hydra's own part of a configuration, which calls any function.
    """
    try:
        value = parsed(override).value()
    except HydraException:
        return  # the composition reports what is wrong with it
    for option in value if isinstance(value, list) else [value]:
        text = option.text if isinstance(option, QuotedString) else str(option)
        if text.startswith("/") or {"..", "."} & {*text.split("/")} or "${" in text or "\\" in text:
            raise ConfigError(
                f"{override}: an option is a name, not a path. A file of your own is chosen with --config-dir FOLDER, by its name in there."
            )


def fault_of_grammar(override: str) -> str:
    """Why Hydra cannot read an override, which it tells in the words of its parser; empty if it can."""
    try:
        parsed(override)
        return ""
    except HydraException:
        key, _, value = override.partition("=")
    if value.startswith("(") and value.endswith(")"):
        return f"a list is written {key}=[{value[1:-1]}]"
    for opening, closing in ("[]", "{}", "()"):
        if (more := value.count(opening)) != (less := value.count(closing)):
            return f"it has {more} {opening} and {less} {closing}"
    for quote in "\"'":
        if value.count(quote) % 2:
            return f"a quote {quote} has no second one"
    return f'the value cannot be read. Text with such letters stands in quotes of its own: "{key}={quoted(value)}"'


def sweeps(override: str) -> bool:
    """Whether an override stands for several runs, as seed=1,2 does."""
    try:
        return parsed(override).is_sweep_override()
    except HydraException:
        return False  # the composition reports what is wrong with it


def quoted(text: str) -> str:
    """`text` as the value of an override, quoted because it may contain any character. A backslash stands for itself but before a quote."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text) + "'"


def first_of(override: str) -> str | None:
    """The first job of a sweep: seed=1,2,3 or seed=range(1,4) -> seed=1. None if only Hydra can expand the sweep: glob(*)."""
    return next(iter(swept(override)), None)


class Menu:
    """What Hydra's parser asks for the options that glob(*) matches."""

    def get_group_options(self, group: str, results_filter: object = None) -> list[str]:
        return options(group)


def swept(override: str, glob: bool = False) -> list[str]:
    """The values of an override in the jobs of a sweep, one override each. Empty if only Hydra can expand it.

    Args:
        glob: whether to expand glob(*) too.

    Raises:
        ConfigError: the sweep has no job.
    """
    if not sweeps(override):
        return [override]
    (sweep,) = OverridesParser.create(config_loader=Menu()).parse_overrides([override])  # type: ignore[arg-type]
    if not sweep.is_discrete_sweep() or (sweep.value_type is ValueType.GLOB_CHOICE_SWEEP and not glob):
        return []
    found = [f"{override.split('=', 1)[0]}={value}" for value in sweep.sweep_string_iterator()]
    if not found:
        raise ConfigError(f"{override} is a sweep without a run.")
    return found
