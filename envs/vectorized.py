"""A vector environment as M environments: `env=vector env.id=ID`, or `env.function=my_module:make` with a parameter `num_envs`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import gymnasium
from gymnasium.vector import VectorEnv

from deeprl.system.functions import found, takes
from deeprl.system.signals import HANDLED
from deeprl.system.terminal import say
from deeprl.types import Goals, Spec

from .function import is_new
from .gym import import_package, known
from .rehearsal import rehearse
from .vector.backend import Backend, Game
from .vector.choice import EnvChoice
from .vector.parts import form_of
from .vector_env import VectorGames


@dataclass(frozen=True, kw_only=True)
class Vectorized(EnvChoice):
    """M environments in one `gymnasium.vector.VectorEnv`.

    Args:
        id: for `gymnasium.make_vec`.
        function: in its place, "module:function" of a function with a parameter `num_envs` that returns a new vector environment. A
            parameter `seed` gets the list of its seeds, for libraries that take them only there, as EnvPool does.
        package: imported first, for the ids it registers.
        kwargs: keyword arguments of `gymnasium.make_vec` or of the function.
        channels, mask, parts, privileged: see `deeprl.envs.vector.parts.Form`.
    """

    pictures: ClassVar[bool] = True
    vectors: ClassVar[tuple[str, ...]] = ("sync",)
    render_remedy: ClassVar[str] = "It needs the render mode rgb_array, and a vector that draws each environment. Or leave videos out"

    id: str | None = None
    function: str | None = None
    package: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    channels: str | None = None
    mask: bool | None = None
    parts: str = "flat"
    privileged: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.id is None) == (self.function is None):
            raise ValueError(f"either id or function must be given, not id={self.id} and function={self.function}")
        if self.function is not None and (not isinstance(self.function, str) or ":" not in self.function):
            raise ValueError(f"function must be the place of a function, module:function, not {self.function!r}")
        if not isinstance(self.kwargs, dict):
            raise ValueError(f"kwargs must be a mapping, such as {{vectorization_mode: sync}}, not {self.kwargs!r}")
        form_of(self)
        if self.on_error == "restart":
            raise ValueError("on_error must be fail, because a vector environment cannot replace one of its environments")

    @property
    def name(self) -> str:
        return str(self.id or self.function)

    def _make(self, make: Callable[..., Any], num: int, seeds: list[int] | None) -> VectorEnv:
        given = {"num_envs": num, **self.kwargs} if seeds is None else {"num_envs": num, "seed": seeds, **self.kwargs}
        try:
            with unheard():
                vector = make(**given)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            raise ValueError(f"{self.name} cannot be made with {given}: {type(error).__name__}: {error}") from error
        if not isinstance(vector, VectorEnv):
            raise ValueError(f"{self.name} returned {type(vector).__name__}, not a gymnasium.vector.VectorEnv")
        if self.function is not None:
            is_new(vector, self.function, 'lambda num_envs: gymnasium.make_vec("CartPole-v1", num_envs)')
        return vector

    def backend(self, vector: str, num: int, evaluation: bool) -> Backend:
        if self.package:
            import_package(self.package)
        if self.function is None:
            assert self.id is not None
            known(self.id)
            make: Callable[..., Any] = partial(gymnasium.make_vec, self.id)
            seeded = False
        else:
            try:
                make = found(self.function)
            except ImportError as error:
                raise ValueError(f"function={self.function} cannot be imported ({error}): it must stand at the top of a module") from error
            if not takes(make, "num_envs"):
                raise ValueError(f"function={self.function} has no parameter num_envs, and must make env.num environments")
            seeded = takes(make, "seed") and "seed" not in self.kwargs
        return VectorGames(partial(self._make, make), num, form_of(self), seeded, self.info)

    def build(self, evaluation: bool = False) -> Game:
        return self.backend("sync", 1, evaluation).game(0)

    def spec(self) -> Spec:
        """Asked once a run, and therefore the place of the rehearsal."""
        games = self.backend("sync", self.num, False)
        assert isinstance(games, VectorGames)
        try:
            if games.conversion.note:
                say(games.conversion.note)
            if games.conversion.mask.masked:
                say(f"action masks of {games.spec.num_actions} actions are respected")
            doubt = rehearse(games)
            seeds = "its environments are reset one by one" if games.one_by_one else "only resets of all its environments have seeds"
            say(f"{games.mode} of {self.name} was rehearsed: {seeds}" + (f"; {doubt}" if doubt else ""))
        finally:
            games.close()
        return games.spec

    def goals(self) -> Goals:
        raise ValueError("rewards of other goals are asked of a single environment, and env=vector makes none: take env=gym with env.num")

    def try_evaluation(self, num: int) -> None:
        if num == self.num:  # rehearsed by `spec`
            return
        try:
            with closing(self.backend("sync", num, True)) as games:
                rehearse(games)
        except ValueError as error:
            raise ValueError(f"its evaluation has {num} environments: {error}") from error

    def rendering(self) -> EnvChoice:
        return self if self.id is None else replace(self, kwargs={**self.kwargs, "render_mode": "rgb_array"})


@contextmanager
def unheard() -> Iterator[None]:
    """Processes started in this block ignore the signals that stop a run, because these reach the whole process group and would kill a
    worker of `gymnasium.vector.AsyncVectorEnv` during a step. Workers of a fork server that this process has started before do not: they
    inherit from it."""
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in HANDLED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
