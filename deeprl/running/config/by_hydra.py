"""Hydra itself: what it composes, and the run that it makes of a composition."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deeprl.running.config import folders, source
from deeprl.running.config.overrides import FREE
from deeprl.running.config.resolvers import register_resolvers

FAULTS = (HydraException, OmegaConfBaseException, YAMLError)
"""Errors of a composition"""
NEITHER = [f"{slot}=null" for slot in FREE]
"""Overrides of a run without an experiment and without a budget"""


def prepare() -> None:
    """Register the resolvers and folders that a composition needs. Idempotent."""
    register_resolvers()
    source.register()


def by_hydra(name: str | None, overrides: list[str]) -> DictConfig:
    """The composition of Hydra, from the file of this name (none: Hydra's own part) to the last override."""
    # for which Hydra takes no null
    words = [f"~{override.removesuffix('=null')}" if override in NEITHER else override for override in overrides]
    try:
        with _initialized():
            return hydra_compose(name, overrides=words, return_hydra_config=True)
    except (*FAULTS, UnicodeDecodeError):  # the last one names the file elsewhere
        raise
    except ValueError as error:  # such as that for tuned=null
        raise HydraException(str(error)) from error


def run_once(job: Callable[[DictConfig], None], config: DictConfig) -> None:
    """As `hydra.main` makes one run, but of a composition that is known. `hydra.main` composes twice, first to look for hydra.mode."""
    with _initialized():
        hydra: Any = GlobalHydra.instance().hydra
        hydra.config_loader = Composed(hydra.config_loader, config)
        hydra.run(config_name="train", task_function=job, overrides=[])


class Composed:
    """Hydra's loader of configurations, for a run that is composed already."""

    def __init__(self, loader: object, config: DictConfig):
        self.loader, self.config = loader, config

    def load_configuration(self, **ignored: object) -> DictConfig:
        return self.config

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def _initialized() -> AbstractContextManager[None]:
    GlobalHydra.instance().clear()
    return initialize_config_dir(str(folders.CONFIGS), job_name="train", version_base="1.3")  # type: ignore[return-value]
