"""What a stored configuration would connect this machine to: only where the user's command says so itself, because the file may come from a
stranger."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from deeprl.errors import ConfigError
from deeprl.running.config.rules import get
from deeprl.running.config.trust import words_of_trust
from deeprl.running.runs.config_file import Config, flatten

RAY = "a Ray cluster, which may send it any code"
WANDB = "Weights & Biases, which gets the numbers of the run, or writes its files into this folder"
LOGGER = "another logger, which gets the numbers and the configuration of the run"


def connections(config: Config) -> dict[str, str]:
    """Overrides that repeat what a run connects to, and what each leads to. Every new way out of the machine gets its line here."""
    found = {}
    if (address := get(config, "collect.address")) not in (None, "auto"):
        found[f"collect.address={address}"] = RAY
    if get(config, "logger.wandb", False) is not False:
        found["logger.wandb=true"] = WANDB
    others = get(config, "logger.also")
    for name, each in others.items() if isinstance(others, dict) else ():
        if get(each, "enabled", True) is not False:
            found[f"logger.also.{name}.enabled=true"] = LOGGER
            for key, value in flatten(each) if isinstance(each, dict) else ():
                if key != "_target_" and isinstance(value, str | list):  # a server, a project, a file
                    found[f"logger.also.{name}.{key}={value}"] = LOGGER
    return found


def words_of_resume(config: Config) -> str:
    """Words with which `deeprl resume` accepts what a run names, and where it connects."""
    return words_of_trust(config) + "".join(f" {shlex.quote(word)}" for word in connections(config))


def require_allowed(config: Config, allowed: Collection[str]) -> None:
    """
    Args:
        config: of a job of a stored sweep or study.
        allowed: words of the user's command.

    Raises:
        ConfigError: the job connects to what none of them names.
    """
    for word, destination in connections(config).items():
        if word not in allowed:
            raise unasked(word, destination, f"allow it with {allow_with(word)}")


def allow_with(word: str) -> str:
    """How a user says that jobs of a stored sweep or study may connect."""
    return f"--allow-connection {shlex.quote(word)}"


def unasked(given: str, destination: str, remedy: str) -> ConfigError:
    """The error of a connection that the user's command does not name.

    Args:
        given: key and value of the stored file.
        destination: what it connects to, such as `RAY`.
        remedy: what confirms or avoids it.
    """
    return ConfigError(f"{given:.200}: this connects to {destination}: if you trust it, {remedy}.")
