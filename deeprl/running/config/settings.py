"""Values below a slot, which stand under the option that they were written for, in the words that choose it:

    agent/chain=polyak: {tau: 0.005}
    replay=uniform: {batch_size: 256}

in a recipe, a tuned file, an experiment or a budget. They count in a run of this option; and of options whose
files start from its file, for keys that these do not set themselves. What an option needs in a budget may stand in its own file,

    budget=tiny: {length: 2, at_most: {epochs: 10}}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from deeprl.errors import ConfigError
from deeprl.running.config import tuned
from deeprl.running.config.rules import is_within
from deeprl.running.runs.config_file import Config, flatten

ABSENT = object()
Settings = dict[str, dict[str, Any]]
"""agent/chain=polyak -> its values, not resolved"""


def places(chosen: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """For each slot by its place in a configuration, agent/actor_torso, the group of its options and the one that was chosen."""
    found = {}
    for slot, option in chosen.items():
        group, _, place = slot.partition("@")
        found[place.replace(".", "/") or group] = group, option
    return found


def is_setting(key: str) -> bool:
    """Whether a key of a file stands for an option, and not for a value."""
    return "=" in key


def taken(cfg: DictConfig) -> list[Settings]:
    """Take the settings out of a composed configuration: those of the recipe, and those of tuned files and experiments."""
    found = list[Settings]()
    with open_dict(cfg):
        for part in (cfg.agent, cfg):
            settings: Settings = {}
            for key in [str(key) for key in part if is_setting(str(key))]:
                value: Any = part.pop(key)
                if OmegaConf.is_dict(value):
                    settings[key] = OmegaConf.to_container(value, resolve=False)  # type: ignore[assignment]
            found.append(settings)
    return found


def apply(cfg: DictConfig, chosen: Mapping[str, str], user: Iterable[str]) -> list[str]:
    """Give each slot the settings of its option; what the command line sets stays.

    Args:
        cfg: as Hydra composed it. It is changed.
        chosen: {"agent/chain": "polyak", ...}.
        user: keys that the command line sets.

    Returns:
        the slots whose option the command line chose and has no settings, while another option of the slot has some with other values
        than its own.
    """
    user, written, given = [*user], dict[str, Config](), set[str]()
    leaves = [key for key in user if "." in key and not any(other != key and is_within(other, key) for other in user)]
    for settings in taken(cfg):
        for slot, (group, option) in places(chosen).items():
            for name, value in of_option(settings, slot, group, option).items():
                given.add(slot)
                key = f"{slot.replace('/', '.')}.{name}"
                if not any(is_within(key, leaf) for leaf in leaves):
                    OmegaConf.update(cfg, key, value, force_add=True)
            if slot in user:
                for key in settings:
                    if key.partition("=")[0] == slot:
                        written.setdefault(slot, {}).update(flatten(settings[key]))
    return [slot for slot, others in written.items() if slot not in given and not same(cfg, slot, others)]


def same(cfg: DictConfig, slot: str, others: Config) -> bool:
    """Whether an option has keys that settings of others set, each of them with the same value."""
    part = OmegaConf.select(cfg, slot.replace("/", "."))
    keys = others if isinstance(part, DictConfig) else ()  # what else a file of one's own may hold is refused later
    own = {key: OmegaConf.select(part, key, default=None) for key in keys}
    known = {key: value for key, value in own.items() if value is not None}
    return bool(known) and all(others[key] == value for key, value in known.items())


def of_option(settings: Settings, slot: str, group: str, option: str) -> Config:
    """Keys and values for an option: its own settings, and those of the options that it starts from, for keys that its own file lacks."""
    written = [key.partition("=")[2] for key in settings if key.partition("=")[0] == slot]
    if written in ([], [option]):  # without a look at files
        return dict(flatten(settings.get(f"{slot}={option}", {})))
    found, own = dict[str, Any](), set[str]()
    for each in tuned.lineage(option, group):
        values = flatten(settings.get(f"{slot}={each}", {}))
        found |= {key: value for key, value in values if not any(is_within(key, mine) or is_within(mine, key) for mine in (*found, *own))}
        own |= {key for key, _ in flatten(tuned.content(group, each)) if key != "defaults"}
    return found


def spread(budget: Config, cfg: DictConfig, chosen: Mapping[str, str]) -> Config:
    """Keys and values of a budget for a run: its own, and below their slots those for the chosen options, which stand in the budget or in
    the option's own file. The files' are taken out of `cfg`.

    Raises:
        ConfigError: a file sets a key for the budget that its option does not have.
    """
    found = dict(flatten({key: value for key, value in budget.items() if not is_setting(key)}))
    for slot, (group, option) in places(chosen).items():
        place = slot.replace("/", ".")
        own = dict(flatten(sizes(cfg, place).get(f"budget={chosen['budget']}", {})))
        for key, value in {**of_option(budget, slot, group, option), **own}.items():
            name = key.removeprefix("at_most.")
            if key in own and OmegaConf.select(cfg, f"{place}.{name}", default=ABSENT) is ABSENT:
                raise ConfigError(f"budget={chosen['budget']} sets {name} in the file of {slot}={option}, which has no such key.")
            found[f"{key.removesuffix(name)}{place}.{name}"] = value
    return found


def sizes(cfg: DictConfig, place: str) -> Config:
    """What the option at a place says of budgets, {"budget=tiny": {"length": 2}}. It is taken out of a composed configuration, and with it
    what is said of tuned files (`tuned.places`)."""
    part = OmegaConf.select(cfg, place)
    words = [key for key in part if str(key).startswith(("budget=", "tuned="))] if isinstance(part, DictConfig) else []
    if not words:
        return {}
    with open_dict(part):
        taken = {str(key): part.pop(key) for key in words}
    return {key: OmegaConf.to_container(value, resolve=False) for key, value in taken.items() if OmegaConf.is_dict(value)}
