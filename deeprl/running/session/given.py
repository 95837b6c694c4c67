"""What a call from Python gives as objects: the function that makes an environment, and overrides by key."""

from __future__ import annotations

import os
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


def check_arguments(folder: object, others: Mapping[str, object]) -> None:
    """
    Args:
        others: arguments that `deeprl.train` does not have.

    Raises:
        ConfigError: there are some, or `folder` is no path.
    """
    if calls := [name for name in others if name.startswith("on_")]:
        raise ConfigError(f"there is no argument {calls[0]}: deeprl.train calls on_log, on_evaluation and on_checkpoint.")
    if calls := [name for name, value in others.items() if callable(value)]:
        raise ConfigError(
            f"there is no argument {calls[0]}, and a configuration has no functions: deeprl.train calls on_log, on_evaluation and "
            "on_checkpoint."
        )
    if others:
        raise ConfigError(f"{', '.join(others)}: overrides are one dictionary or list, deeprl.train({others!r:.200}, ...).")
    if not isinstance(folder, str | os.PathLike | None):
        raise ConfigError(f"folder takes the path of a run folder, not {folder!r:.100}: deeprl.train(..., folder='runs/mine').")


def check_function(env: object) -> None:
    """
    Raises:
        ConfigError: `env` is no function.
    """
    if isinstance(env, str):
        raise ConfigError(
            f"env takes a function that makes a new environment, not {env!r:.100}. One by its id is an override: "
            f'deeprl.train(["env=gym", "env.id={env:.100}"]).'
        )
    if not callable(env):
        raise ConfigError(
            f"env takes a function that makes a new environment, not {env!r:.100}, because training and evaluation have environments of "
            'their own: deeprl.train(..., env=lambda: gymnasium.make("CartPole-v1")).'
        )


def worded(overrides: Mapping[str, object], prefix: str = "") -> list[str]:
    """Overrides by key as those of a command line: {"agent": "dqn", "replay": {"n_step": 3}} -> ["agent=dqn", "replay.n_step=3"]."""
    words: list[str] = []
    for key, value in overrides.items():
        full = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            words += worded(value, f"{full}.")
        else:
            words.append(f"{full}={literal(value, full)}")
    return words


def literal(value: object, key: str) -> str:
    """A value in the grammar of overrides, of a key or within one.

    Raises:
        ConfigError: a configuration cannot hold a value of this type.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (str, Path)):
        return quoted(str(value))
    if isinstance(value, (list, tuple)):
        return f"[{','.join(literal(item, key) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{literal(item, key)}" for name, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, (int, float)):
        remedy = " What makes an environment is an argument: deeprl.train(..., env=make)." if key == "env" else ""
        raise ConfigError(
            f"{key}: {value!r:.100}, a {type(value).__name__}, is no value: a configuration takes texts, numbers, True, False, None and "
            f"lists.{remedy}"
        )
    return repr(value)
