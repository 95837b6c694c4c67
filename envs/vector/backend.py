"""Interfaces of one environment, `Game`, and of M environments behind one call, `Backend`.

A backend reports failures. `deeprl.envs.vector.environments.Environments` decides what follows from them.
"""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deeprl.envs.answers import flag, number
from deeprl.types import Goals, Spec

if TYPE_CHECKING:
    from deeprl.envs.conversion import Conversion

from .actions import Actions
from .info import NOTHING, EpisodeInfo, Info
from .observations import AS_IT_IS, fault_of, fault_of_shown


class Game(ABC):
    """One environment in the form that agents know. Its behaviour is a function of the seed of its last seeded reset and of all calls
    since."""

    spec: Spec
    actions: Actions
    fps: float = 30.0
    """Frames per second of a video of it"""
    limit: int | None = None
    """Steps after which an episode is truncated; None: none is known"""
    reward_range: tuple[float, float] | None = None
    """Smallest and largest reward, if the environment declares them"""
    observation: str = AS_IT_IS
    """What an observation is, for those who use a policy without this library"""
    conversion: Conversion | None = None
    """From the environment's own spaces; None: observations are the game's own already"""
    info: EpisodeInfo | None = None
    """Gathers numbers of the running episode, where the environment tells some; None: nobody asks for them"""

    def goals(self) -> Goals:
        """Where its observations have goals, and what they earn. It must not depend on the running episode.

        Raises:
            ValueError: it has none; the message says what it lacks.
        """
        raise ValueError("its observations have no goals")

    def layers(self) -> list[str]:
        """Names of the wrappers, from the outermost to the environment itself."""
        return [type(self).__name__]

    @abstractmethod
    def reset(self, seed: int | None) -> np.ndarray:
        """First observation of an episode. With seed None the generators continue from their present state."""

    @abstractmethod
    def step(self, action: object) -> tuple[np.ndarray, float, bool, bool]:
        """`action` as the environment takes it -> observation, raw reward, terminated, ended."""

    def frame(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB: picture of the present state, after a reset. The environment must be made with `render=True`."""
        raise NotImplementedError("it draws no frames")

    def close(self) -> None:  # noqa: B027 (most games have nothing to close)
        """May be called after a failure."""


Ended = tuple[np.ndarray, float, bool, Info]
"""next_obs, reward and terminated of a step that ended its episode, and the numbers of that episode"""


class Failure(NamedTuple):
    """Record that a backend returns in place of an environment's answer."""

    cause: str
    error: BaseException | None = None
    lost: bool = False
    """Its process died or hung. The game is not the cause, so that a replay of seed and actions restores it"""
    step: Ended | None = None
    """The step that ended the episode, if only the reset after it failed"""


StepResult = tuple[np.ndarray, np.ndarray, float, bool, bool, Info]
"""obs, next_obs, reward, terminated, ended of one environment, and the numbers of its episode if it ended"""
LARGEST = float(np.finfo(np.float32).max)


def usable(answer: StepResult | Failure | None, spec: Spec) -> StepResult | Failure:
    """The answer itself, or a `Failure` that describes its fault."""
    if answer is None:
        return Failure("no answer")
    if isinstance(answer, Failure):
        step = answer.step and read(*answer.step, spec)
        if isinstance(step, Failure):  # the reset failed, and the step before it is none
            return answer._replace(cause=f"{step.cause}, and {answer.cause}", step=None)
        return answer._replace(step=step)
    obs, next_obs, reward, terminated, ended, info = answer
    try:
        ended = flag("ended", ended)
    except TypeError as error:
        return Failure(str(error))
    step = read(next_obs, reward, terminated, info, spec)
    if isinstance(step, Failure):
        return step
    fault = fault_of_shown(obs, spec) if ended else ""
    return Failure(f"after a reset, {fault}", step=step) if fault else (obs, *step[:3], ended, info)


def read(next_obs: np.ndarray, reward: float, terminated: bool, info: Info, spec: Spec) -> Ended | Failure:
    """What a step answered, or a `Failure` that describes its fault."""
    try:
        reward, terminated = number(reward), flag("terminated", terminated)
    except TypeError as error:
        return Failure(str(error))
    if not -LARGEST <= reward <= LARGEST:
        return Failure(f"reward is {reward}")
    fault = fault_of(next_obs, spec) if terminated else fault_of_shown(next_obs, spec)
    return Failure(fault) if fault else (next_obs, reward, terminated, info)


def own(error: BaseException) -> BaseException:
    """The error of an environment; a panic of a Rust extension is no `Exception`. A request to this process is raised again."""
    if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
        raise error
    return error


def told(game: Game) -> Info:
    """The numbers of its running episode up to now."""
    return game.info.so_far() if game.info else NOTHING


def advance(game: Game, action: object, seed: int | None) -> StepResult | Failure:
    """One step, and a reset if it ended the episode: the same function in this process and in workers. An error of the step is raised, as
    is a step of another form."""
    answer = game.step(action)
    if len(answer) != 4:
        raise ValueError(f"{type(game).__name__}.step gave {len(answer)} values, not 4: observation, reward, terminated, ended")
    next_obs, reward, terminated, ended = answer
    if not flag("ended", ended):
        return next_obs, next_obs, reward, terminated, False, NOTHING
    info = game.info.of_episode() if game.info else NOTHING
    last = next_obs.copy()  # some environments reuse their arrays in reset
    with contextlib.suppress(TypeError):  # of which `usable` tells
        reward, terminated = number(reward), flag("terminated", terminated)
    try:
        return game.reset(seed), last, reward, terminated, True, info
    except BaseException as error:
        return Failure(f"reset raised {type(error).__name__}: {error}", own(error), step=(last, reward, terminated, info))


class Backend(ABC):
    """M games, run one after the other, in processes, or by a library. Reports failures, decides nothing."""

    spec: Spec
    actions: Actions
    num: int
    one_by_one: bool = True
    """Whether an environment can be reset alone, with a seed. Otherwise only resets of all environments together have seeds."""

    replaces: bool = True
    """Whether `rebuild` can replace one environment"""
    conversion: Conversion | None = None
    """As of a `Game`, if the games run in this process"""
    limit: int | None = None
    """As of a `Game`"""

    @abstractmethod
    def reset(self, seeds: Mapping[int, int | None]) -> dict[int, np.ndarray | Failure]:
        """Reset each environment in `seeds` with its seed."""

    @abstractmethod
    def step(self, actions: np.ndarray, seeds: list[int | None], only: Iterable[int] | None = None) -> list[StepResult | Failure | None]:
        """`actions` (M, ...) in the environments' own form; `seeds` for resets where episodes end. With `only`, the answers of the other
        environments have no meaning, and these may or may not have been stepped."""

    @abstractmethod
    def rebuild(self, index: int) -> None:
        """Replace one environment by a fresh one, not yet reset."""

    def game(self, index: int) -> Game:
        """The game of one environment, if the games run in this process."""
        raise NotImplementedError(f"{type(self).__name__} has no games in this process")

    def told(self, which: list[int]) -> list[Info]:
        """The numbers that the running episodes of these environments have told up to now."""
        return [NOTHING] * len(which)

    @abstractmethod
    def close(self) -> None: ...


class Serial(Backend):
    """One environment after the other in this process; a call that hangs here cannot be interrupted."""

    def __init__(self, build: Callable[[], Game], num: int):
        self.build, self.num = build, num
        self.games = [build() for _ in range(num)]
        self.spec, self.actions, self.conversion = self.games[0].spec, self.games[0].actions, self.games[0].conversion
        self.limit = self.games[0].limit

    def reset(self, seeds):
        answers = {}
        for index, seed in seeds.items():
            try:
                answers[index] = copy(self.games[index].reset(seed))  # games may write into one array
            except BaseException as error:
                answers[index] = Failure(f"reset raised {type(error).__name__}: {error}", own(error))
        return answers

    def step(self, actions, seeds, only=None):
        answers: list = [None] * self.num
        for index in range(self.num) if only is None else only:
            try:
                answers[index] = self.apart(advance(self.games[index], actions[index], seeds[index]))
            except BaseException as error:
                answers[index] = Failure(f"{type(error).__name__}: {error}", own(error))
        return answers

    def apart(self, answer: StepResult | Failure) -> StepResult | Failure:
        """An answer that no later step of another game changes, as games may write into one array."""
        if self.num == 1 or isinstance(answer, Failure):
            return answer
        obs, next_obs, reward, terminated, ended, info = answer
        kept = copy(next_obs)
        return kept if obs is next_obs else copy(obs), kept, reward, terminated, ended, info

    def rebuild(self, index):
        close_quietly(self.games[index])
        self.games[index] = self.build()

    def game(self, index):
        return self.games[index]

    def told(self, which):
        return [told(self.games[index]) for index in which]

    def close(self):
        for game in self.games:
            close_quietly(game)


def close_quietly(game: Any) -> None:
    """Close a game or a vector of games; an error becomes a warning."""
    try:
        game.close()
    except Exception as error:  # a run must not end because closing failed
        warnings.warn(f"an environment could not be closed: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)
