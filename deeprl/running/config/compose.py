"""Composition of overrides to a resolved configuration, with errors that name the nearest right key, group or value."""

from __future__ import annotations

from collections.abc import Iterable

from hydra.errors import MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from deeprl.errors import ConfigError, on_one_line
from deeprl.running.config import composition, folders, own_files
from deeprl.running.config.by_hydra import FAULTS, prepare
from deeprl.running.config.explain import explain
from deeprl.running.config.overrides import check_words, for_hydra, key_of
from deeprl.running.config.resolve import apply_settings, choices, resolve
from deeprl.running.runs.config_file import Config


def compose(overrides: Iterable[str]) -> tuple[Config, set[str], dict[str, str]]:
    """Compose a configuration.

    Returns:
        the resolved configuration; the keys that the overrides set; the chosen options, {"env": "classic/cartpole", "agent": "idqn", ...}.

    Raises:
        ConfigError: an override is wrong; the message names the nearest right key, group or value.
    """
    return compose_with_folder(overrides)[:3]


def compose_with_folder(overrides: Iterable[str]) -> tuple[Config, set[str], dict[str, str], str | None]:
    """As `compose`, and last the value of hydra.run.dir, interpolations resolved; None if the overrides do not set it."""
    overrides = [for_hydra(override) for override in overrides]
    prepare()
    check_words(overrides)
    for group, _, name in (override.partition("=") for override in overrides):
        if group in ("experiment", "agent", "env"):  # before the composition, which some of their faults end
            own_files.check_choices(group, name.strip("'\""))
    try:
        cfg = composition.composed(overrides)
        chosen = choices(cfg)
        folder = folder_of(cfg, overrides)
        return (*resolve(cfg), chosen, folder)
    except FAULTS as error:
        absent = folders.left_out() if isinstance(error, MissingConfigException) else ""
        raise ConfigError(explain(overrides, error) + absent) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(own_files.fault(error)) from error


def folder_of(cfg: DictConfig, overrides: list[str]) -> str | None:
    """hydra.run.dir, if an override sets it.

    Raises:
        ConfigError: its interpolations have no value.
    """
    word = next((override for override in reversed(overrides) if key_of(override) == "hydra.run.dir"), None)
    try:
        return None if word is None else str(cfg.hydra.run.dir or "")
    except OmegaConfBaseException as error:
        raise ConfigError(f"{word}: {on_one_line(error)}") from error


def unresolved(overrides: list[str]) -> DictConfig:
    """The configuration of a run, interpolations as they are written. Errors are those of OmegaConf: `compose` explains them."""
    cfg = composition.composed(overrides)
    apply_settings(cfg)
    return cfg


def one_run(overrides: list[str]) -> DictConfig | None:
    """The composition of one run, with Hydra's part; None if hydra.mode says what Hydra shall make."""
    config = composition.composed(overrides)
    if config.hydra.mode:
        return None
    config.hydra.mode = "RUN"
    config.hydra.overrides.hydra.append("hydra.mode=RUN")
    return config
