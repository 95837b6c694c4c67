"""An environment made by a function: `env=function env.function=my_module:make`, or `deeprl.train(env=make)` from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import gymnasium
from gymnasium.vector import VectorEnv
from torch import Tensor

from deeprl.errors import ConfigError
from deeprl.system.functions import GIVEN, found, takes
from deeprl.types import Spec

from .gym import GymGame, layers_of, looked_at, missing
from .terminations import rule_of_layers
from .vector.choice import EnvChoice
from .vector.parts import form_of

RETURNED: WeakSet[Any] = WeakSet()
"""Environments of this process that functions have returned."""


def is_new(env: gymnasium.Env | VectorEnv, function: str, example: str) -> None:
    """
    Args:
        function: `env.function`, which has returned `env`.
        example: of a function that makes a new one at each call.

    Raises:
        ConfigError: a function of this process has returned it before, so that evaluation and training would step one environment.
    """
    if env.unwrapped in RETURNED:
        raise ConfigError(
            f"env.function={function} returned an environment a second time, and each one of a run must be its own: make a new one at each "
            f"call, env={example}."
        )
    RETURNED.add(env.unwrapped)


def remedy(function: str, cause: BaseException | None) -> str:
    """What helps where the function of a name, module:function, cannot be imported because of `cause`."""
    module, _, name = function.partition(":")
    if module.endswith(".py"):
        return f"a module is named without .py, {module.removesuffix('.py').replace('/', '.')}:{name}"
    if isinstance(cause, ModuleNotFoundError) and cause.name not in (None, *parents(module)):
        return f"{module} imports {cause.name}, which is not installed here"
    if isinstance(cause, ModuleNotFoundError):
        return f"PYTHONPATH=. before the command adds the current folder, {Path.cwd()}, where modules of your own are looked for"
    return (
        "it must stand at the top of its module. A lambda or a function of a notebook exists only in the process that called "
        "deeprl.train(env=...)"
    )


def parents(module: str) -> list[str]:
    """a, a.b and a.b.c of a.b.c"""
    names = module.split(".")
    return [".".join(names[: i + 1]) for i in range(len(names))]


@dataclass(frozen=True, kw_only=True)
class Function(EnvChoice):
    """An environment made by a function.

    Args:
        function: "module:function" of a function that returns a new Gymnasium environment.
        kwargs: its keyword arguments.
        channels, mask, parts, privileged, components: see `deeprl.envs.vector.parts.Form`.
    """

    render_remedy: ClassVar[str] = (
        "Its function has to make it with the render mode rgb_array: give it a parameter render_mode, which videos set, or hand it one "
        "that it has with env.kwargs.render_mode=rgb_array"
    )

    function: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    channels: str | None = None
    mask: bool | None = None
    parts: str = "flat"
    privileged: Sequence[str] = ()
    components: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.function, str) or ":" not in self.function:
            raise ValueError(f"function must be the place of a function, module:function, not {self.function!r}")
        if not isinstance(self.kwargs, dict):
            raise ValueError(f"kwargs must be a mapping, such as {{size: 5}}, not {self.kwargs!r}")
        form_of(self)
        if self.vector != "sync" and self.function in GIVEN:
            raise ValueError(f"vector must be sync, not {self.vector}, because another process cannot import {self.function}")

    @property
    def name(self) -> str:
        return self.function

    def build(self, evaluation: bool = False) -> GymGame:
        try:
            function = found(self.function)
        except ImportError as error:
            raise ValueError(f"function={self.function} cannot be imported ({error}): {remedy(self.function, error.__cause__)}") from error
        try:
            env = function(**self.kwargs)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise ValueError(f"function={self.function} does not take env.kwargs={self.kwargs}: {error}{missing(error)}") from error
        if isinstance(env, VectorEnv):  # EnvPool's are both
            raise ValueError(f"function={self.function} returned a vector environment: give it a parameter num_envs, and use env=vector")
        if not isinstance(env, gymnasium.Env):
            raise ValueError(f"function={self.function} returned {type(env).__name__}, not a gymnasium.Env")
        is_new(env, self.function, 'lambda: gymnasium.make("CartPole-v1")')
        return GymGame(env, form_of(self))

    def spec(self) -> Spec:
        """Asked once a run, and therefore the place to tell what was chosen."""
        return looked_at(
            self.build(), self.mask, self.vector == "sync", "return gymnasium.wrappers.TimeLimit(env, STEPS) from the function"
        )

    def terminates(self) -> Callable[[Tensor], Tensor] | None:
        game = self.build()
        return rule_of_layers(game, layers_of(game.env))

    @property
    def pictures(self) -> bool:  # type: ignore[override]
        """Whether its function is known to take a render mode, or was given one. Another may set its own."""
        return "render_mode" in self.rendering().kwargs  # type: ignore[attr-defined]

    def rendering(self) -> EnvChoice:
        if "render_mode" in self.kwargs or not takes(found(self.function), "render_mode"):
            return self  # the function decides about its render mode
        return replace(self, kwargs={**self.kwargs, "render_mode": "rgb_array"})
