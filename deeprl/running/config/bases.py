"""Compositions of options alone, kept for the process.

Which options are chosen decides which of the files are merged, and in which order: that is what takes Hydra its time. So what it composes
of options is kept, and single values are set in a copy of it, as Hydra sets them. Whatever is not of these two kinds, or fails, is Hydra's
from start to end, with its words.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deeprl.running.config import folders

PLACES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode")
"""Keys of Hydra's own part that are values like all others. Its other keys may say how it composes."""

_bases: dict[tuple[str, ...], bytes] = {}
_state: list[tuple[str, dict]] = []  # the folders and files of which `_bases` are


def composed(overrides: list[str], by_hydra: Callable[[list[str]], DictConfig]) -> DictConfig:
    """What `by_hydra` would compose, and what it composes of options alone at their first use."""
    try:
        given = OverridesParser.create().parse_overrides(overrides)
    except HydraException:
        return by_hydra(overrides)
    options, values = ([each for each in given if is_option(each) == chosen] for chosen in (True, False))
    if not all(map(is_value, values)):
        return by_hydra(overrides)
    try:
        config = _base(tuple(each.input_line or "" for each in options), by_hydra)
        for each in values:
            OmegaConf.update(config, each.key_or_group, each.value(), merge=True, force_add=each.is_force_add())
    except (HydraException, OmegaConfBaseException):
        if values:
            return by_hydra(overrides)
        raise
    _note(config, given)
    return config


def is_option(override: Override) -> bool:
    """Whether it chooses an option: agent/torso@agent.actor_torso=mlp."""
    plain = not (override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override())
    return plain and folders.is_group(override.key_or_group) and isinstance(override.value(), str | None)


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


def _base(options: tuple[str, ...], by_hydra: Callable[[list[str]], DictConfig]) -> DictConfig:
    if _state != (now := [(str(folder), folders.stamps(folder)) for folder in folders.folders()]):
        _bases.clear()
        _state[:] = now
    if options not in _bases:
        _bases[options] = pickle.dumps(by_hydra([*options]), pickle.HIGHEST_PROTOCOL)
    return pickle.loads(_bases[options])


def _note(config: DictConfig, given: list[Override]) -> None:
    """What Hydra notes of a command line in its own part."""
    hydra = config.hydra
    lines = {of_hydra: [each.input_line for each in given if each.is_hydra_override() == of_hydra] for of_hydra in (True, False)}
    hydra.overrides.hydra, hydra.overrides.task = lines[True], lines[False]
    hydra.runtime.cwd = os.getcwd()
    style = hydra.job.config.override_dirname
    named = [each.input_line or "" for each in given if not each.is_hydra_override() and each.key_or_group not in style.exclude_keys]
    hydra.job.override_dirname = re.sub("[=]", lambda _: style.kv_sep, style.item_sep.join(sorted(named)))
