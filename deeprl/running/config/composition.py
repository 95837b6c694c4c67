"""A composition: files as `deeprl.running.config.defaults` lists them, merged, and the values of the command line. What is unusual, or
fails otherwise than by a key that no file has, is Hydra's from start to end, with its words; Hydra's own part of a configuration always
is.
"""

from __future__ import annotations

import copy
import os
import pickle
import re
from functools import lru_cache
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from deeprl.running.config import folders
from deeprl.running.config.by_hydra import by_hydra
from deeprl.running.config.defaults import Defaults, Unusual
from deeprl.running.config.overrides import parsed
from deeprl.running.config.parsed import Content

PLACES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode")
"""Keys of Hydra's own part that are values like all others. Its other keys may say how it composes."""
OF_HYDRA = {"hydra", "_dummy_empty_config_.yaml"}
"""What Hydra itself puts into its store of configurations in code"""

_parts: dict[tuple, bytes] = {}  # with Hydra's own part, by its options, what files say of it, and the folders, which it lists


def composed(overrides: list[str]) -> DictConfig:
    """What Hydra composes of configs/train.yaml and the overrides, in a fraction of the time.

    Raises:
        ConfigAttributeError, ConfigKeyError: no file has the key of an override.
        Exception: whatever Hydra raises.
    """
    try:
        given = [parsed(override) for override in overrides]
        options: dict[str, Any] = {each.get_key_element(): each.value() for each in given if is_option(each)}
        values = [each for each in given if not is_option(each)]
        if len(options) + len(values) < len(given) or not all(map(is_value, values)) or ConfigStore.instance().repo.keys() - OF_HYDRA:
            raise Unusual(overrides)
        defaults = Defaults(options)
        config = _merged(defaults)
        for each in values:
            OmegaConf.update(config, each.key_or_group, each.value(), merge=True, force_add=each.is_force_add())
    except (ConfigAttributeError, ConfigKeyError):  # which Hydra would find too, after half a second
        raise
    except (Unusual, HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError, RecursionError, OSError):
        return by_hydra("train", overrides)
    _note(config, given, defaults)
    return config


def is_option(override: Override) -> bool:
    """Whether it chooses an option: agent/torso@agent.actor_torso=mlp."""
    plain = not (override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override())
    ours = not override.key_or_group.startswith("hydra")
    return plain and ours and folders.is_group(override.key_or_group) and isinstance(override.value(), str | None)


def is_value(override: Override) -> bool:
    """Whether it sets the value of a key: agent.torso.width=64."""
    key = override.key_or_group
    ours = key.partition(".")[0] != "hydra" and "/" not in key and not folders.is_group(key)
    return (
        (ours or key in PLACES)
        and override.package is None
        and not (override.is_sweep_override() or override.is_delete())
        and (override.is_force_add() or not override.is_add())
    )


def _merged(defaults: Defaults) -> DictConfig:
    plain: Content = {}
    for place, content in defaults.files:
        for word in reversed(place.split(".") if place else []):
            content = {word: content}
        merge(plain, content)
    own = plain.pop("hydra", None) or {}
    if "searchpath" in own:
        raise Unusual("hydra.searchpath")
    config: DictConfig = pickle.loads(_created(pickle.dumps({"hydra": None, **plain}, pickle.HIGHEST_PROTOCOL)))  # in Hydra's order
    with open_dict(config), flag_override(config, "no_deepcopy_set_nodes", True):
        config.hydra = _part(defaults, own)
    return config


@lru_cache(256)
def _created(plain: bytes) -> bytes:
    """OmegaConf's object, without new keys, of what files say; both pickled. Jobs and tests differ in values more often than in files, and
    to make an object takes eight times as long as to copy it so."""
    config = OmegaConf.create(pickle.loads(plain))
    OmegaConf.set_struct(config, True)
    return pickle.dumps(config, pickle.HIGHEST_PROTOCOL)


def _part(defaults: Defaults, own: Content) -> DictConfig:
    """Hydra's own part of a configuration.

    Args:
        own: what files say of it.
    """
    chosen = tuple(f"{key}={'null' if name is None else name}" for key, name in defaults.of_hydra.items())
    key = (chosen, repr(own), *folders.folders())
    if key not in _parts:
        part = by_hydra(None, [*chosen])
        with open_dict(part):
            part.merge_with({"hydra": own})
        _parts[key] = pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
    return pickle.loads(_parts[key]).hydra  # type: ignore[no-any-return]


def merge(into: Content, content: Content) -> None:
    """As OmegaConf merges: keys of dictionaries one by one, lists as a whole; ??? replaces nothing.

    Raises:
        Unusual: a list meets keys, or an interpolation gets some; OmegaConf merges these into what it stands for.
    """
    for key, value in content.items():
        old = into.get(key)
        if value == "???" and key in into:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        elif {type(value), type(old)} == {dict, list} or (isinstance(value, dict) and isinstance(old, str) and "${" in old):
            raise Unusual(key)
        else:
            into[key] = copy.deepcopy(value)


def _note(config: DictConfig, given: list[Override], defaults: Defaults) -> None:
    """What Hydra notes of a command line in its own part."""
    hydra = config.hydra
    lines = {of_hydra: [each.input_line for each in given if each.is_hydra_override() == of_hydra] for of_hydra in (True, False)}
    hydra.overrides.hydra, hydra.overrides.task = lines[True], lines[False]
    hydra.runtime.cwd, hydra.job.config_name = os.getcwd(), "train"
    hydra.runtime.choices = {**defaults.choices, **hydra.runtime.choices}
    style = hydra.job.config.override_dirname
    named = [each.input_line or "" for each in given if not each.is_hydra_override() and each.key_or_group not in style.exclude_keys]
    hydra.job.override_dirname = re.sub("[=]", lambda _: style.kv_sep, style.item_sep.join(sorted(named)))
