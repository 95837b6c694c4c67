"""From a composed configuration to the one that a run has, and that `config.yaml` holds."""

from __future__ import annotations

from typing import Any

from deeprl.replay.sequences import LENGTH
from deeprl.running.collect.choice import settle_collect
from deeprl.running.config import own_files, tuned
from deeprl.running.config.instantiate import drop_foreign
from deeprl.running.config.rollouts import choose_rollout, learns_from, record_ratio, refuse_single_rows
from deeprl.running.config.rules import finalise, get, learns_nothing, planned_updates, put, rollout_updates, with_shares
from deeprl.running.runs.config_file import flatten
from deeprl.system.terminal import say, some


def settle(config: dict[str, Any], user: set[str]) -> dict[str, Any]:
    """Check a configuration, replace shares of `steps` by steps, and drop what the chosen parts do not take.

    Args:
        config: of `deeprl.running.config.compose.compose`. It is changed.
        user: keys that the command line set.

    Raises:
        ConfigError: a key is wrong, or the user set a key that the chosen part does not take.
    """
    experiment = config["names"].pop("experiment", "")
    published = set(tuned.values("experiment", experiment))
    drop_unused(config, user, experiment, published)
    count_sequences(config, user | published)
    choose_rollout(config, user)
    mapping = config["agent"].get("mapping", {})
    if mapping.get("n_step", 1) is None:
        mapping["n_step"] = config["replay"].get("n_step", 1)  # here, because only now is it that of the replay that trains
    settle_collect(config, user)
    refuse_single_rows(config)
    record_ratio(config)
    fit_periods(config, user)
    for key in sorted(user.intersection(with_shares(config))):
        if get(config, key) == 1 and not isinstance(get(config, key), float):
            say(f"{key}=1 is one step; the whole run is {key}=1.0")
    config = finalise(config)
    tell_if_no_update(config)
    return config


def drop_unused(config: dict[str, Any], user: set[str], experiment: str, published: set[str]) -> None:
    """Drop keys of tuned files and recipes that the chosen parts do not take, and keys of the experiment below a slot for which another
    option is chosen, by the user or by an experiment that starts from another.

    Args:
        published: keys that the experiment sets.
    """
    names = config["names"]
    option = tuned.option(names["env"], names["agent"])
    keys = tuned.keys(option)
    if not keys:
        say(f"no tuned settings for {names['agent']} on {tuned.family(names['env'])}: the defaults of the agent are used")
    slots = {key for key in user if "/" in key or key in ("agent", "env", "replay")}
    slots |= {slot for each in tuned.lineage(experiment, "experiment")[:-1] for slot in tuned.slots("experiment", each)}
    swapped = tuple(f"{slot.replace('/', '.')}." for slot in slots)
    dropped = drop_foreign(config, keys | tuned.recipe(names["agent"]) | {key for key in published if key.startswith(swapped)}, user)
    filled = {slot for each in tuned.lineage(experiment, "experiment") for slot in tuned.slots("experiment", each)} - user
    # nothing is told of a slot that the experiment itself fills, because its settings were written for that option
    dropped = [key for key in dropped if key.rpartition(".")[0].replace(".", "/") not in filled]
    files = [("tuned", each, "") for each in tuned.lineage(option, "tuned")] + [
        ("agent", each, "agent.") for each in tuned.lineage(names["agent"])
    ]
    own_files.check_keys([*files, *(("experiment", each, "") for each in tuned.lineage(experiment, "experiment"))], dropped)
    if dropped:
        sources = [f"agent={names['agent']}", f"tuned/{option}", *([f"experiment={experiment}"] if published else [])]
        say(f"keys of {' and '.join(sources)} that the chosen parts do not take are ignored: {some(dropped, 6)}")
        decided = keys | user | published | tuned.recipe(names["agent"])
        for slot in dict.fromkeys(key.rpartition(".")[0] for key in dropped):
            own = [f"{key}={value}" for key, value in flatten(get(config, slot, {}), f"{slot}.") if is_default(key, value, decided)]
            if slot.replace(".", "/") in user and own:
                say(f"the option's own defaults: {some(own, 6)}")


def is_default(key: str, value: Any, decided: set[str]) -> bool:
    """Whether a value is a number that no recipe, tuned file, experiment or user has set."""
    return key not in decided and isinstance(value, (int, float)) and not isinstance(value, bool)


def count_sequences(config: dict[str, Any], decided: set[str]) -> None:
    """Where sequences are replayed, replace a tuned `n_step` by 1, and a tuned number of transitions by that of sequences with as many.

    Args:
        decided: keys that the user or the experiment set, which stay.
    """
    names, replay = config["names"], config["replay"]
    if not (learns_from(config, "sequences") or names["replay"] == "sequences"):
        return
    option = tuned.option(names["env"], names["agent"])
    keys = tuned.keys(option)
    if "replay.n_step" in keys - decided and replay.get("n_step", 1) != 1:
        say(f"replay.n_step=1 replaces the value of tuned/{option}, because sequences replace n-step returns")
        replay["n_step"] = 1
    if "replay.batch_size" in keys - decided and "replay.length" not in keys:
        number, length = replay["batch_size"], replay.get("length") or LENGTH
        replay["batch_size"] = max(1, number // length)
        say(f"replay.batch_size={replay['batch_size']}, sequences of {length}, replaces the {number} transitions of tuned/{option}")


FITTING = {"evaluation.every": 0.1, "log.every": 0.01}
"""Periods, and the share of `steps` that replaces one that is as long as the run"""


def fit_periods(config: dict[str, Any], user: set[str]) -> None:
    """Shorten periods of tuned files and experiments that a run with few steps would never reach, so that it has curves. Those that the
    user set stay. No weight depends on them."""
    for key, share in FITTING.items():
        period, steps = get(config, key), config["steps"]
        if key not in user and isinstance(period, int) and isinstance(steps, int) and period >= steps > 1:
            put(config, key, share)
            say(f"{key}={max(1, round(share * steps))} replaces {period:,}, which the {steps:,} steps of this run do not reach")


def tell_if_no_update(config: dict[str, Any]) -> None:
    """Say that a run of an agent that learns ends before its first update."""
    if planned_updates(config) or learns_nothing(config):
        return
    rollouts = rollout_updates(config) is not None
    named = ("steps", "env.num", "replay.length") if rollouts else ("steps", "learning_starts", "replay_ratio")
    figures = ", ".join(f"{key}={get(config, key)}" for key in named)
    say(f"this run will make no update, because it ends too early: {figures}. A short run that learns: budget=tiny")
