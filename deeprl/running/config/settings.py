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
from deeprl.running.config.menu import options
from deeprl.running.config.rules import is_within, nearest
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
            keys = part if isinstance(part, DictConfig) else ()  # what else a file of one's own may hold is refused later
            for key in [str(key) for key in keys if is_setting(str(key))]:
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
        the slots whose option has no settings, while another option of the slot has some with other values than its own.
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
            for key in settings:
                if key.partition("=")[0] == slot:
                    written.setdefault(slot, {}).update(flatten(settings[key]))
    return [slot for slot, others in written.items() if slot not in given and differs(cfg, slot, others, slot in user)]


def differs(cfg: DictConfig, slot: str, others: Config, chosen: bool) -> bool:
    """Whether an option has other values for keys that settings of others set. One that has none of these keys differs only if the command
    line chose it: a recipe means its own option, and Retrace's ε says nothing of another backup."""
    part = OmegaConf.select(cfg, slot.replace("/", "."))
    keys = others if isinstance(part, DictConfig) else ()  # what else a file of one's own may hold is refused later
    own = {key: OmegaConf.select(part, key, default=None) for key in keys}
    known = {key: value for key, value in own.items() if value is not None}
    return any(others[key] != value for key, value in known.items()) if known else chosen


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
    """Keys and values of a budget for a run: below their slots those that the chosen options' own files have for it, or for the budgets
    from which it starts, then those that it has for these options, and its own; the later ones count. The files' are taken out of `cfg`.

    Raises:
        ConfigError: a file sets a key for the budget that its option does not have; or as in `words`.
    """
    found, budgets = dict[str, Any](), [f"budget={name}" for name in reversed(tuned.lineage(chosen["budget"], "budget"))]
    for slot, (group, option) in places(chosen).items():
        place = slot.replace("/", ".")
        said = words(cfg, place, f"{slot}={option}")
        own = {key: value for word in budgets for key, value in flatten(said.get(word, {}))}
        for key, value in {**own, **of_option(budget, slot, group, option)}.items():
            name = key.removeprefix("at_most.")
            if key in own and lacks(OmegaConf.select(cfg, place), name):
                raise ConfigError(f"{budgets[-1]} sets {name} in the file of {slot}={option}, which has no such key.")
            found[f"{key.removesuffix(name)}{place}.{name}"] = value
    return {**found, **dict(flatten({key: value for key, value in budget.items() if not is_setting(key)}))}


def lacks(part: Any, key: str) -> bool:
    """Whether a part has no such key. One that is null has all: the run leaves it out."""
    for name in key.split("."):
        if part is None:
            return False
        if not isinstance(part, DictConfig) or name not in part.keys():  # noqa: SIM118  `in` denies keys without a value
            return True
        part = OmegaConf.select(part, name)
    return False


def words(cfg: DictConfig, place: str, option: str) -> Settings:
    """What the file of the option at a place says of budgets, {"budget=tiny": {"length": 2}}. It is taken out of a composed configuration,
    and with it what is said of tuned files (`tuned.places`).

    Raises:
        ConfigError: there is no such budget or environment, or something else stands under it.
    """
    part = OmegaConf.select(cfg, place)
    found = [str(key) for key in part if str(key).startswith(("budget=", "tuned="))] if isinstance(part, DictConfig) else []
    taken: Settings = {}
    for word in found:
        with open_dict(part):
            value = part.pop(word)
        kind, _, name = word.partition("=")
        group = "env" if kind == "tuned" else kind
        if name not in (offered := options(group)):
            raise ConfigError(f"{word} in the file of {option}: there is no {group}={name}.{nearest(name, offered)}")
        if kind == "budget" and not OmegaConf.is_dict(value):
            raise ConfigError(f"{word} in the file of {option}: keys belong under it. Write {word}: {{key: value}}.")
        if kind == "tuned" and (value is not None or place != "env"):
            raise ConfigError(f"{word} in the file of {option}: this line stands in files of environments, and nothing under it.")
        if kind == "budget":
            taken[word] = OmegaConf.to_container(value, resolve=False)  # type: ignore[assignment]
    return taken
