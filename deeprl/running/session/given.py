"""Environments made by a function that is given as an object, in a script or a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deeprl.errors import ConfigError
from deeprl.running.config.rules import get, put
from deeprl.running.runs.config_file import Config
from deeprl.system.functions import GIVEN, name_of, takes


def replace_function(stored: Config, function: Callable[..., Any]) -> None:
    """Write a function that this process was given as an object into a stored configuration, under a name of this process.

    Raises:
        ConfigError: it is no function, or the run's environment is not made by such a function.
    """
    check_function(function)
    before, name = get(stored, "env.function", None), get(stored, "names.env", None)
    if not isinstance(before, str):
        raise ConfigError(f"env must be left out, because no function made the environment of this run, {name!s:.100}.")
    vector = str(name).startswith("vector/")
    if takes(function, "num_envs") != vector:
        raise ConfigError(f"env takes a function {'with' if vector else 'without'} num_envs here, as {before:.100} of the run.")
    given = f"__main__:{name_of(function)}"
    GIVEN[given] = function
    put(stored, "env.function", given)
    put(stored, "env.vector", "sync")


def check_function(env: Any) -> None:
    """
    Raises:
        ConfigError: `env` is no function.
    """
    if not callable(env):
        raise ConfigError(
            f"env takes a function that makes a new environment, not {env!r:.100}, because training and evaluation have environments of "
            'their own: deeprl.train(..., env=lambda: gymnasium.make("CartPole-v1")).'
        )
