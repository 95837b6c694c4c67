"""What a run needs of its machine and of other runs, asked before it starts: packages, a compiler, a display, the run of `init_from`."""

from __future__ import annotations

import importlib.util

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.replay.sequences import Sequences
from deeprl.running.accelerate.graph import has_compiler
from deeprl.running.config.dry_run import dry_run
from deeprl.running.config.instantiate import Allowed, Deferred, instantiate
from deeprl.running.config.rules import get
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.loggers import Logging
from deeprl.running.session.warm_start import warm_start
from deeprl.system.machine import extra, lacking
from deeprl.types import Spec


def require(config: Config, env: object, agent: Agent, spec: Spec, memory: Deferred, machine: bool) -> None:
    """All of these checks, for a job that starts later, in another process.

    Args:
        agent: of this configuration, on the CPU. Its weights are overwritten.
        memory: its replay, without arguments.
        machine: whether that process is on this machine.

    Raises:
        ConfigError: something is missing.
    """
    if machine:
        require_packages(config, env)
        require_compiler(config)
    dry_run(agent, spec, "cpu", issubclass(memory.cls, Sequences))
    if config.get("init_from"):
        warm_start(agent, config["init_from"])


def require_packages(config: Config, env: object) -> None:
    """
    Raises:
        ConfigError: the run wants Weights & Biases or videos, and this machine cannot have them.
    """
    if config["logger"].get("wandb") and importlib.util.find_spec("wandb") is None:
        raise ConfigError(f"logger=wandb needs the package wandb: {extra('wandb')}; or leave logger=wandb out.")
    for name, each in logging_of(config, None).also.items():
        if each.package and each.enabled and lacking([each.package]):
            raise ConfigError(f"logger/also={name} needs the package {each.package}: {extra(each.package)}; or leave it out.")
    if get(config, "evaluation.video", False):
        from deeprl.running.training.video import check_rendering  # imports OpenCV, which only videos need

        check_rendering(env, "evaluation.video=true")


def can_compile(config: Config) -> bool:
    """Whether this machine can make the mode `compiled` work, which records CUDA graphs on a GPU and needs a compiler elsewhere."""
    return str(config["device"]).startswith("cuda") or has_compiler()


def require_compiler(config: Config) -> None:
    """
    Raises:
        ConfigError: the mode needs a compiler, and this machine has none.
    """
    if config["accelerate"]["mode"] == "compiled" and not can_compile(config):
        raise ConfigError("accelerate=compiled needs a C++ compiler and found none: install g++, or use accelerate=fast.")


def logging_of(config: Config, allowed: Allowed) -> Logging:
    """
    Raises:
        ConfigError: `logger` does not name a `Logging`.
    """
    found = instantiate(config["logger"], "logger", allowed)
    if not isinstance(found, Logging):
        raise ConfigError(f"logger._target_={config['logger'].get('_target_')!r:.100} is not a choice of loggers.")
    return found
