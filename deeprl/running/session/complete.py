"""From a composed configuration to the one that a run has, and that `config.yaml` holds."""

from __future__ import annotations

from collections.abc import Collection

from deeprl.running.collect.choice import complete_collect
from deeprl.running.config import own_keys, tuned
from deeprl.running.config.folders import file
from deeprl.running.config.rules import finalise, get, put, with_fractions
from deeprl.running.config.settings import is_setting
from deeprl.running.config.sources import check_source, planned_updates, source_class
from deeprl.running.runs.config_file import Config
from deeprl.running.session.prior import embed_prior
from deeprl.system.terminal import from_here, say


def complete(config: Config, user: set[str]) -> Config:
    """Check a configuration, and replace shares of `steps` by steps.

    Args:
        config: of `deeprl.running.config.compose.compose`. It is changed.
        user: keys that the command line set.

    Raises:
        ConfigError: a key is wrong.
    """
    experiment = config["names"].pop("experiment", "")
    others = config["names"].pop("others", [])
    for note in config["names"].pop("notes", []):
        say(note)
    files = check_files(config, experiment)
    for words in others:
        slot = words.partition("=")[0]
        of_slot = next((path for group, name, _ in files if sets(group, name, slot) and (path := file(group, name))), None)
        values = plain_values(config, slot.replace("/", "."), user)
        say(f"{words} keeps its own defaults{values}: {from_here(of_slot) if of_slot else 'a file of this run'} has no settings for it")
    complete_collect(config, user)
    fit_periods(config, user)
    for key in sorted(user.intersection(with_fractions(config))):
        if get(config, key) == 1 and not isinstance(get(config, key), float):
            say(f"{key}=1 is one step; the whole run is {key}=1.0")
    embed_prior(config)
    config = finalise(config)
    check_source(config)
    tell_if_no_update(config, user)
    return config


def plain_values(config: Config, slot: str, user: Collection[str]) -> str:
    """The numbers and words of the own keys of a part, in brackets, without those that the command line set.

    Args:
        slot: place of the part, agent.chain.
    """
    node = get(config, slot)
    leaves = [(key, value) for key, value in node.items() if f"{slot}.{key}" not in user] if isinstance(node, dict) else ()
    shown = [f"{key}={value}" for key, value in leaves if key[0] != "_" and isinstance(value, int | float | str)]
    return f" ({', '.join(shown)})" if shown else ""


def sets(group: str, name: str, slot: str) -> bool:
    """Whether a file has settings for options of a slot."""
    return any(key.partition("=")[0] == slot for key in tuned.content(group, name) if is_setting(key))


def check_files(config: Config, experiment: str) -> list[own_keys.Source]:
    """
    Returns:
        the files from which the run starts.

    Raises:
        ConfigError: a file of the user that the run starts from has a wrong key.
    """
    names = config["names"]
    option = tuned.option(names["env"], names["agent"])
    if not tuned.keys(option):
        say(f"no tuned settings for {names['agent']} on {tuned.family(names['env'])}: the defaults of the agent are used")
    files = [("tuned", each, "") for each in tuned.lineage(option, "tuned")]
    files += [("agent", each, "agent.") for each in tuned.lineage(names["agent"])]
    files += [("experiment", each, "") for each in tuned.lineage(experiment, "experiment")]
    own_keys.check_keys(files, config)
    return files


FITTING = {"evaluation.every": 0.1, "log.every": 0.01}
"""Periods, and the share of `steps` that replaces one that is as long as the run"""


def fit_periods(config: Config, user: set[str]) -> None:
    """Shorten periods of tuned files and experiments that a run with few steps would never reach, so that it has curves. Those that the
    user set stay. No weight depends on them."""
    for key, share in FITTING.items():
        period, steps = get(config, key), config["steps"]
        if key not in user and isinstance(period, int) and isinstance(steps, int) and period >= steps > 1:
            put(config, key, share)
            say(f"{key}={max(1, round(share * steps))} replaces {period:,}, which the {steps:,} steps of this run do not reach")


def tell_if_no_update(config: Config, user: Collection[str] = ()) -> None:
    """Say that a run of an agent that learns ends before its first update, or goes on behind its last.

    Args:
        user: keys that the command line set.
    """
    source, num = source_class(config), config["env"]["num"]
    figures = ", ".join(f"{key}={get(config, key)}" for key in ("steps", *source.paced_by))
    if source.paced_by and not planned_updates(config):
        lower = ", or lower replay.learning_starts" if "replay.learning_starts" in source.paced_by else ""
        advice = "" if "budget" in user else f". Raise steps{lower}; a short run that learns: budget=tiny"
        say(f"this run will make no update, because it ends too early: {figures}{advice}")
        return
    if "replay.learning_starts" in source.paced_by and 2 * (starts := get(config, "replay.learning_starts")) > config["steps"]:
        say(
            f"this run learns late: its first {starts:,} of {config['steps']:,} steps come before the first update "
            f"(replay.learning_starts), and {planned_updates(config):,} updates follow"
        )
    if (until := source.learns_until(config["replay"], num)) is not None and config["steps"] > until:
        say(f"this run will learn nothing after its first {until:,} steps at most: {figures}")
    elif num * -(-config["steps"] // num) < (most := source.longest(config["replay"], num)):
        say(f"this run may make no update, because one takes up to {most:,} steps of env.num={num}: {figures}")
