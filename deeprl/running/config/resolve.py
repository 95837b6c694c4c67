"""A composition as the configuration of a run: settings and budgets in their places, interpolations resolved."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeGuard

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from deeprl.errors import ConfigError
from deeprl.running.config import captions, own_files, settings, tuned
from deeprl.running.config.overrides import FREE, given_twice, keys_of
from deeprl.running.config.resolvers import env_name
from deeprl.running.config.rules import RULES
from deeprl.running.runs.config_file import Config, container, flatten


def choices(cfg: DictConfig) -> dict[str, str]:
    chosen = {name: str(value) for name, value in cfg.hydra.runtime.choices.items() if not name.startswith("hydra/")}
    return {**dict.fromkeys(FREE, "None"), **chosen, "env": env_name(cfg)}


def resolve(cfg: DictConfig) -> tuple[Config, set[str]]:
    """The resolved configuration of a run, without Hydra's part and with `names`, of which `complete` takes those away that no run has; and
    the keys that the command line set.

    Args:
        cfg: as it is composed; it is used up.

    Raises:
        ConfigError: a key has no value.
    """
    twice = given_twice(cfg.hydra.overrides.task)
    chosen, user, unset, replaced = apply_settings(cfg)
    try:
        resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:
        if missing := OmegaConf.missing_keys(cfg):
            raise ConfigError(without_value(min(missing), chosen)) from None
        raise
    assert isinstance(resolved, dict)
    own_files.check_chosen(chosen, resolved)  # type: ignore[arg-type]
    refuse_idle(chosen, user)
    if "env.id" in user:
        require_own_id(chosen["env"], resolved["env"].get("id"))
    resolved["names"] = {name: chosen[name] for name in ("env", "agent", "replay", "experiment") if chosen.get(name, "None") != "None"}
    options_of = ((slot, *settings.places(chosen)[slot]) for slot in unset)
    if others := [f"{slot}={option}" for slot, group, option in options_of if not own_files.of_users(group, option)]:
        resolved["names"]["others"] = others  # type: ignore[assignment]
    notes = [note for note in (twice, replaced) if note]
    if notes:
        resolved["names"]["notes"] = notes  # type: ignore[assignment]
    return resolved, user  # type: ignore[return-value]


def apply_settings(cfg: DictConfig) -> tuple[dict[str, str], set[str], list[str], str]:
    """Put what files say of options and budgets in its place, and take Hydra's part away.

    Returns:
        the chosen options, the keys that the command line set, what `settings.apply` returns, and a line about those of these keys that
        the budget has replaced.
    """
    chosen = choices(cfg)
    user = keys_of(cfg.hydra.overrides.task)
    with open_dict(cfg):
        cfg.pop("hydra")
        cfg.pop("experiment", None)
        budget = container(cfg.pop("budget", None) or {})
    whole = settings.spread(budget, cfg, chosen)
    unset = settings.apply(cfg, chosen, user)
    replaced = shorten(cfg, whole, user)
    return chosen, user, unset, told(chosen["budget"], replaced, {key for key, _ in flatten(budget)})


def told(budget: str, replaced: Mapping[str, tuple[object, object]], own: Collection[str]) -> str:
    """The line about keys of the command line that a budget has replaced; empty without one.

    Args:
        replaced: what `shorten` returns.
        own: keys of the budget's own file. The others stand in files of options, where no override reaches them.
    """
    if not replaced:
        return ""
    shown = {key: ["null" if value is None else value for value in values] for key, values in replaced.items()}
    said = "; ".join(f"{key}={value}, not {asked}" for key, (asked, value) in shown.items())
    words = " ".join(f"budget.{key}={asked}" for key, (asked, _) in shown.items() if key in own)
    others = ", ".join(key for key in shown if key not in own)
    kept = f"To keep yours: {words}" if words else ""
    left = f"Leave budget={budget} out to keep your {others}" if others else ""
    return f"budget={budget}: {said}. {'. '.join(filter(None, (kept, left)))}"


def without_value(key: str, chosen: dict[str, str]) -> str:
    """The message of a key that has no default, with what the file of its option says of it, or one from which that starts."""
    files = [
        (f"{group}/{each}", f"{slot.replace('/', '.')}.")
        for slot, (group, option) in settings.places(chosen).items()
        for each in tuned.lineage(option, group)
    ]
    comment = next((entry.comment for file, prefix in files for entry in captions.keys(file, prefix) if entry.name == key), "")
    return f"{key} has no value: give one, {key}=...{comment and f', {comment}'}"


def shorten(cfg: DictConfig, budget: Config, user: set[str]) -> dict[str, tuple[object, object]]:
    """Apply a budget (configs/budget/tiny.yaml), keys and values. They replace all others, so that it comes last; those under `at_most`
    bound numbers that the command line does not set. Keys that the chosen parts do not have are passed over.

    A value out of range stays, so that it is refused with a budget too: of the keys of `RULES`; and of others if the command line sets, in
    place of a positive number, something else, such as null.

    Returns:
        keys of the command line whose value the budget has replaced, with both values.

    Raises:
        ConfigError: a bound is no number.
    """
    replaced = {}
    for key, value in budget.items():
        name = key.removeprefix("at_most.")
        now = OmegaConf.select(cfg, name, default=settings.ABSENT)
        if now is settings.ABSENT:
            continue
        if key == name:
            applies = RULES[name].takes(now) if name in RULES else name not in user or (now is not None and alike(now, value))
        elif is_number(value):
            applies = name not in user and (now is None or (is_number(now) and now > value))
        else:
            raise ConfigError(f"{key}={value!r} of a budget is no number, and bounds nothing.")
        if applies:
            OmegaConf.update(cfg, name, value)
            if name in user and now != value:
                replaced[name] = now, value
    return replaced


def alike(now: object, value: object) -> bool:
    """Whether a value may be one of the key that a budget sets: a positive number, and a whole one, where its own value is such."""
    if not is_number(value):
        return True
    return is_number(now) and now > 0 and (isinstance(value, float) or float(now).is_integer())


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def refuse_idle(chosen: dict[str, str], user: set[str]) -> None:
    """
    Raises:
        ConfigError: the chosen experiment only names an agent and an environment, for whose settings a tuned file stands, and another
            environment was chosen to which these do not apply.
    """
    name = chosen.get("experiment", "None")
    if name == "None":
        return
    lineage = tuned.lineage(name, "experiment")
    slots = {slot: option for each in reversed(lineage) for slot, option in tuned.slots("experiment", each).items()}
    if tuned.values("experiment", name) or slots.keys() - {"agent", "env", *user}:
        return
    if "env" not in slots or ("env" in user and tuned.family(slots["env"]) != tuned.family(chosen["env"])):
        agent, env = chosen["agent"], chosen["env"]
        family = tuned.family(slots.get("env", ""))
        made = f"Its settings are for {family}: choose an environment of {family}, or write" if family else "Write"
        raise ConfigError(f"experiment={name} sets nothing on env={env}. {made} agent={agent} env={env} without it.")


def require_own_id(env: str, id: object) -> None:
    """Another task would train, count and be reported under the name of the option, with settings that are not for it.

    Args:
        env: the chosen option.
        id: of the command line; None: ~env.id has taken it away. Another version of the option's own task is the same task (Hopper-v4
            for Hopper-v5).

    Raises:
        ConfigError: the file of the option has the id of another task.
    """
    own = tuned.values("env", env).get("id")
    if id is not None and isinstance(own, str) and own != "???" and "${" not in own and unversioned(own) != unversioned(str(id)):
        remedy = f", or let the file of env={env} have id: ???" if own_files.of_users("env", env) else ""
        raise ConfigError(f"env.id={id}: env={env} is {own}, and another task would bear its name. Write env=gym env.id={id}{remedy}.")


def unversioned(id: str) -> str:
    """CartPole of CartPole-v1 and of module:CartPole-v1."""
    return re.sub(r"-v\d+$", "", id.rpartition(":")[2])
