"""Any environment registered with Gymnasium: `env=gym env.id=MiniGrid-Empty-5x5-v0 env.package=minigrid`."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import find_highest_version, parse_env_id
from torch import Tensor

from deeprl.system.functions import found
from deeprl.system.terminal import say
from deeprl.types import Spec

from .answers import flag, number
from .conversion import Conversion
from .games import GAMES
from .glance import tell
from .goals import goals_of
from .masks import KEY
from .terminations import rule_of_layers
from .vector.backend import Game
from .vector.choice import EnvChoice
from .vector.parts import Form, form_of

RESET = "define it as def reset(self, *, seed=None, options=None)"
NEW = "since Gym 0.26 and Gymnasium these are separate, and an older environment needs a wrapper, such as shimmy's"
FOUR = "not enough values to unpack (expected 5, got 4)"
"""What Python says of a step that returns a single `done`, here or in a wrapper of Gymnasium."""


REPLACED = {
    "NormalizeObservation": "agent/normalize=running",
    "NormalizeReward": "agent/rewards=scaled",
}
"""Wrappers with statistics that change in every step, and the options whose statistics belong to the agent"""


def layers_of(env: Any) -> list[Any]:
    """An environment, or a vector of environments, and what it wraps, from the outermost to the innermost."""
    layers = [env]
    while layers[-1] is not env.unwrapped and hasattr(layers[-1], "env"):
        layers.append(layers[-1].env)
    return layers


def refuse_statistics(layer: Any) -> None:
    """
    Raises:
        ValueError: a wrapper of Gymnasium that goes on normalising by running statistics. Evaluation and training make their own
            environments, so that a policy would be evaluated on inputs of another scale, and by normalised rewards.
    """
    kinds = [kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith("gymnasium.wrappers")]
    name = next((kind for kind in kinds if kind in REPLACED), "")
    if name and layer.update_running_mean:
        raise ValueError(
            f"{name} has running statistics, which evaluation would not share with training: leave it out and set {REPLACED[name]}. Or "
            "give it fixed statistics, and update_running_mean=False"
        )


class GymGame(Game):
    """A Gymnasium environment as a `Game`: observations are checked, and termination and truncation are kept apart. Action masks are the
    last columns of its observations.

    Args:
        form: how observations are seen.
    """

    conversion: Conversion

    def __init__(self, env: gymnasium.Env, form: Form = Form()):
        self.env = env
        observed: Any = getattr(env, "observation_space", None)  # a class of one's own may have none
        self.conversion = Conversion(observed, getattr(env, "action_space", None), form)  # type: ignore[arg-type]
        self.spec, self.actions, self.observation = self.conversion.spec, self.conversion.actions, self.conversion.observation
        self.fps = float(env.metadata.get("render_fps") or self.fps)
        self.limit = env.spec.max_episode_steps if env.spec else None
        for layer in layers_of(env):
            if isinstance(layer, gymnasium.wrappers.TimeLimit):  # the shortest of several ends an episode
                self.limit = min(layer._max_episode_steps, self.limit or layer._max_episode_steps)
            refuse_statistics(layer)
        self.reward_range = getattr(env.unwrapped, "reward_range", None)  # Gymnasium 1.0 dropped it, some environments still declare it

    def goals(self):
        return goals_of(self.env)

    def layers(self):
        return [type(layer).__name__ for layer in layers_of(self.env)]

    def reset(self, seed):
        try:
            answer = self.env.reset(seed=seed)
        except TypeError as error:
            if "argument 'seed'" not in str(error):
                raise
            raise TypeError(f"{error}: {RESET}") from error
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise TypeError(f"reset returned {type(answer).__name__}, not observation and info: {NEW}")
        if self.info:
            self.info.begin()
        return self.conversion.row(*answer, False)

    def step(self, action):
        try:
            obs, reward, terminated, truncated, info = self.env.step(self.conversion.action(action))
        except ValueError as error:
            if str(error) != FOUR:
                raise
            raise TypeError(f"step returned four values, not observation, reward, terminated, truncated, info: {NEW}") from error
        terminated, truncated = flag("terminated", terminated), flag("truncated", truncated)
        if self.info:
            self.info.note(info)
        return self.conversion.row(obs, info, terminated), number(reward), terminated, terminated or truncated

    def frame(self):
        image: Any = self.env.render()
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3):
            kind = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"render() gives {kind}, not uint8 of shape (height, width, 3)")
        return image

    def close(self):
        self.env.close()


def limited(env: gymnasium.Env, limit: int, steps: int | None, form: Form = Form()) -> GymGame:
    """The game of an environment that cuts its episodes itself.

    Args:
        limit: steps after which it does.
        steps: of a shorter time limit; None: its own.
        form: how observations are seen.
    """
    if steps is not None:
        env = gymnasium.wrappers.TimeLimit(env, limit := min(limit, steps))
    game = GymGame(env, form)
    game.limit = limit
    return game


def import_package(package: str) -> None:
    """Import a package for the environments it registers. Raises ValueError naming the key."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ValueError(f"env.package={package} cannot be imported ({error}): install it") from error


def atari(id: str) -> str:
    """The option of env=atari/… that an id means: pong of PongNoFrameskip-v4 and ALE/Pong-v5. Empty if there is none."""
    found = re.fullmatch(r"(?:ALE/)?(\w+?)(?:NoFrameskip|Deterministic)?(?:-ram)?-v\d+", id)
    game = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", found[1]).lower() if found else ""
    return game if game in GAMES else ""


def tell_if_outdated(id: str) -> None:
    """Gymnasium's own warning is a `DeprecationWarning`, which Python hides."""
    namespace, name, version = parse_env_id(id.rpartition(":")[2])
    newest = find_highest_version(namespace, name)
    if version is not None and newest is not None and version < newest:
        say(f"env.id={id} is out of date: Gymnasium has {name}-v{newest}")


def known(id: str) -> None:
    """
    Raises:
        ValueError: nobody has registered the id; with the nearest one.
    """
    if ":" not in id and id not in gymnasium.registry:
        near = difflib.get_close_matches(id, list(gymnasium.registry), n=1, cutoff=0.6)
        named = {"ALE": "ale_py"}.get(id.split("/")[0], id.split("/")[0])
        package = f"env.package={named}, if that is" if "/" in id else "env.package to"
        if game := atari(id):
            raise ValueError(f"env.id={id} is not registered. Games of Atari run by their protocol: env=atari/{game}")
        found = f", the nearest is {near[0]}: take that, or" if near else ":"
        raise ValueError(f"env.id={id} is not registered{found} set {package} the package that registers it")


def make(id: str, max_episode_steps: int | None, kwargs: dict[str, Any]) -> gymnasium.Env:
    """`gymnasium.make` with errors that help.

    Raises:
        ValueError: an unknown id, with the nearest known one; a missing dependency; keyword arguments it does not take.
    """
    known(id)
    try:
        # its checks are those of `GymGame` and the layer, but its messages name neither environment nor step
        return gymnasium.make(id, max_episode_steps=max_episode_steps, disable_env_checker=True, **kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"env.id={id} needs a package that is not installed: {error}") from error
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise ValueError(f"env.id={id} cannot be made with env.kwargs={kwargs}: {error}{missing(error)}") from error


def missing(error: BaseException) -> str:
    """The keys that give the arguments which a call lacked; empty if it lacked none."""
    names = re.findall(r"'(\w+)'", str(error).partition("required")[2])
    return f". Give {' '.join(f'env.kwargs.{name}=…' for name in names)}" if names else ""


def wrap(env: gymnasium.Env, wrappers: list[dict[str, Any]]) -> gymnasium.Env:
    """Apply wrappers, each a dotted path and its keyword arguments, the first one innermost."""
    for path, kwargs in ((entry["path"], entry["kwargs"]) for entry in wrappers):
        try:
            wrapper: Any = found(":".join(path.rsplit(".", 1)))
        except ImportError as error:
            raise ValueError(f"env.wrappers: {path} cannot be imported ({error}): give the dotted path of a class") from error
        if not (isinstance(wrapper, type) and issubclass(wrapper, gymnasium.Wrapper)):
            raise ValueError(f"env.wrappers: {path} is no subclass of gymnasium.Wrapper")
        try:
            env = wrapper(env, **kwargs)
        except Exception as error:
            raise ValueError(
                f"env.wrappers: {path} raised {type(error).__name__}: {error}. Its arguments stand in {{path: {path}, kwargs: {{...}}}}"
            ) from error
    return env


def wrapper_entries(value: Any) -> list[dict[str, Any]]:
    """`env.wrappers` in full. A path is short for {path: path, kwargs: {}}, and one entry for a list of it."""
    entries = [{"path": entry} if isinstance(entry, str) else entry for entry in (value if isinstance(value, list) else [value])]
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or not entry.keys() <= {"path", "kwargs"}:
            raise ValueError(f"wrappers must be dotted paths, or {{path: ..., kwargs: {{...}}}} each, not {entry!r}")
    return [{"path": entry["path"], "kwargs": entry.get("kwargs") or {}} for entry in entries]


def looked_at(game: GymGame, mask: bool | None, steps: bool, limited: str = "set env.max_episode_steps") -> Spec:
    """The spaces of a game, which is closed; lines on stderr say what was chosen without being asked for, and what looks wrong.

    Args:
        mask: `env.mask`.
        steps: it may be stepped, because the run steps it in this process too; one that hangs or crashes belongs into a worker.
        limited: how it gets a time limit.

    Raises:
        ValueError: masks are wanted, and the first observation has none, or one of another form.
    """
    try:
        if game.conversion.note:
            say(game.conversion.note)
        if game.conversion.mask.masked:
            game.reset(0)
            say(f"action masks of {game.spec.mask_size} actions are respected")
        elif mask is None and game.spec.num_actions:
            with contextlib.suppress(Exception):  # the run says it better
                if KEY in game.env.reset(seed=0)[1]:
                    say(f'info["{KEY}"] says which actions are valid: env.mask=true respects it, env.mask=false silences this line')
        if steps:
            tell(game, limited)
    finally:
        game.close()
    return game.spec


@dataclass(frozen=True, kw_only=True)
class Registered(EnvChoice):
    """An environment made by its Gymnasium id. Families add their own settings."""

    pictures: ClassVar[bool] = True
    render_remedy: ClassVar[str] = (
        "It needs the render mode rgb_array and what its package draws with: mostly pygame (pip install pygame-ce), for MuJoCo without a "
        "display MUJOCO_GL=egl or MUJOCO_GL=osmesa in the shell. Or leave videos out"
    )

    id: str
    max_episode_steps: int | None = None
    """Time limit in environment steps, a truncation; None for the registered one"""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Handed to the environment's constructor"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.id, str):
            raise ValueError(f"id must be the name of an environment, not {self.id!r}")
        if not isinstance(self.kwargs, dict):
            raise ValueError(f"kwargs must be a mapping, such as {{size: 5}}, not {self.kwargs!r}")
        if self.max_episode_steps is not None and not (isinstance(self.max_episode_steps, int) and self.max_episode_steps >= 1):
            raise ValueError(f"max_episode_steps must be at least 1, or null for the registered limit, not {self.max_episode_steps!r}")

    def build(self, evaluation: bool = False) -> GymGame:
        return GymGame(make(self.id, self.max_episode_steps, self.kwargs))

    def spec(self) -> Spec:
        """Asked once a run, and therefore the place to tell what was found."""
        found = super().spec()
        tell_if_outdated(self.id)
        return found

    def rendering(self) -> EnvChoice:
        return replace(self, kwargs={**self.kwargs, "render_mode": "rgb_array"})


@dataclass(frozen=True, kw_only=True)
class Gym(Registered):
    """Any other Gymnasium environment.

    Args:
        package: imported first, for the ids it registers.
        wrappers: dotted paths of wrapper classes, or {path: ..., kwargs: {...}}, the first one innermost.
        channels, mask, parts, privileged, components: see `deeprl.envs.vector.parts.Form`.
    """

    package: str | None = None
    wrappers: Any = field(default_factory=list)
    channels: str | None = None
    mask: bool | None = None
    parts: str = "flat"
    privileged: Sequence[str] = ()
    components: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "wrappers", wrapper_entries(self.wrappers))
        form_of(self)

    def made(self) -> gymnasium.Env:
        """The environment in its wrappers."""
        if self.package:
            import_package(self.package)
        return wrap(make(self.id, self.max_episode_steps, self.kwargs), self.wrappers)

    def build(self, evaluation: bool = False) -> GymGame:
        env = self.made()
        try:
            return GymGame(env, form_of(self))
        except ValueError as error:
            env.close()
            raise ValueError(f"env.id={self.id}: {error}") from error

    def spec(self) -> Spec:
        """Asked once a run, and therefore the place to tell what was guessed."""
        game = self.build()
        tell_if_outdated(self.id)
        try:
            return looked_at(game, self.mask, self.vector == "sync")
        except ValueError as error:
            raise ValueError(f"env.id={self.id}: {error}") from error

    def terminates(self) -> Callable[[Tensor], Tensor] | None:
        game = self.build()
        return rule_of_layers(game, layers_of(game.env))
