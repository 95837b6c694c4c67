"""What a call from Python gives as objects: the function that makes an environment, and overrides by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeprl.errors import ConfigError
from deeprl.running.config.overrides import quoted
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


def check_function(env: object) -> None:
    """
    Raises:
        ConfigError: `env` is no function.
    """
    if not callable(env):
        raise ConfigError(
            f"env takes a function that makes a new environment, not {env!r:.100}, because training and evaluation have environments of "
            'their own: deeprl.train(..., env=lambda: gymnasium.make("CartPole-v1")).'
        )


def worded(overrides: Mapping[str, object], prefix: str = "") -> list[str]:
    """Overrides by key as those of a command line: {"agent": "dqn", "replay": {"n_step": 3}} -> ["agent=dqn", "replay.n_step=3"]."""
    words: list[str] = []
    for key, value in overrides.items():
        if isinstance(value, Mapping) and value:
            words += worded(value, f"{prefix}{key}.")
        else:
            words.append(f"{prefix}{key}={literal(value)}")
    return words


def literal(value: object) -> str:
    """A value in the grammar of overrides.

    Raises:
        ConfigError: a configuration cannot hold a value of this type.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (str, Path)):
        return quoted(str(value))
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, (int, float)):
        raise ConfigError(
            f"{value!r:.100}, a {type(value).__name__}, is no value: a configuration takes texts, numbers, True, False, None and lists."
        )
    return repr(value)
