"""Base class of environment choices: the settings that all families share, and the construction of environments from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from deeprl.choice import Choice, in_range, one_of
from deeprl.envs.glance import require_judged, tell
from deeprl.types import Goals, Spec

from .backend import Backend, Game, Serial
from .environments import Environments
from .info import EpisodeInfo
from .workers import Workers

LONGEST_TIMEOUT = 2_000_000
"""Seconds. The operating system takes no wait of 2^31 milliseconds"""

LIMITED = "let its game count the steps of an episode, say ended after the last one, and have their number as its `limit`"
"""How a `Game` gets a time limit"""


def plain(value: object) -> Any:
    """Mappings and sequences of a configuration as plain dicts and lists, which pickle and compare."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True, kw_only=True)
class EnvChoice(Choice):
    """Value of the key `env`: the settings of one family, and those that all families share."""

    calls_names: ClassVar[bool] = True
    vectors: ClassVar[tuple[str, ...]] = ("sync", "async")
    pictures: ClassVar[bool] = False
    """Whether its games have a `frame`"""
    of_run: ClassVar[tuple[str, ...]] = ()
    """Keys that must have the values of the run's keys of that name"""
    render_remedy: ClassVar[str] = "It has no pictures: leave videos out"
    """Advice in the error message where no frame can be drawn"""

    num: int = 1
    """M, copies stepped together"""
    vector: str = "sync"
    """Where the copies run: sync (this process), async (one process each), ale (ALE's threads, Atari only)"""
    reseed_every: int = 1
    """Episodes between fresh seeds"""
    on_error: str = "fail"
    """Reaction to an environment that raises or hangs: fail (end the run) or restart (a fresh environment)"""
    timeout: float = 60.0
    """Seconds after which a worker process counts as hanging"""
    info: Mapping[str, str] = field(default_factory=dict)
    """Numbers that episodes are asked for, see `EpisodeInfo`. No key of `env`: `log.info` gives it"""

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, plain(getattr(self, each.name)))
        in_range(self, num=(1, None), reseed_every=(1, None), timeout=(0, LONGEST_TIMEOUT))
        if self.timeout == 0:
            raise ValueError("timeout must be above 0, not 0, because every worker process would count as hanging")
        one_of(self, vector=self.vectors, on_error=("fail", "restart"))

    @property
    def name(self) -> str:
        """Name of the environment in messages."""
        return str(getattr(self, "id", type(self).__name__))

    def build(self, evaluation: bool = False) -> Game:
        """One environment. Called in the process that will step it."""
        raise NotImplementedError

    def asked(self, info: Mapping[str, str]) -> EnvChoice:
        """The same choice, whose episodes tell these numbers."""
        return replace(self, info=info)

    def counted(self, evaluation: bool) -> Game:
        """`build`, with what gathers the numbers of its episodes."""
        game = self.build(evaluation)
        game.info = EpisodeInfo(self.info) if self.info else None
        return game

    def spec(self) -> Spec:
        """Spaces of the environment. Builds one environment and closes it. Asked once a run, and therefore the place to tell what looks
        wrong with one of another package; with workers it may not be stepped here, because it may hang or crash."""
        game = self.build()
        try:
            if self.vector == "sync" and not type(self).__module__.startswith("deeprl."):
                tell(game, LIMITED)
        finally:
            game.close()
        return game.spec

    def goals(self) -> Goals:
        """Goals of its observations, by a game that lives on with them and is stepped here alone.

        Raises:
            ValueError: it has none, or its rewards are not those of its goals.
        """
        game = self.build()
        found = game.goals()
        require_judged(game, found)
        return found

    def terminates(self) -> Callable[[Tensor], Tensor] | None:
        """The rule by which its episodes terminate: observations after a step, (B, *obs) -> (B,) bool. None: it is not known."""
        return None

    def try_evaluation(self, num: int) -> None:
        """Refuse, before a run, `num` environments for evaluation that cannot work.

        Raises:
            ValueError: says why they cannot.
        """

    def backend(self, vector: str, num: int, evaluation: bool) -> Backend:
        build = partial(self.counted, evaluation)
        if vector == "sync":
            return Serial(build, num)
        return Workers(build, num, self.timeout)

    def make_evaluation(self, seed: int, num: int, render: bool = False) -> Environments:
        """The environments of one evaluation: in worker processes of its own where training has them (`vector=async`), so that `timeout`
        and `on_error` hold there too, and in this process otherwise, or to `render`.

        Workers are not kept between evaluations, because state that outlives a reset would let the result depend on earlier evaluations.
        """
        return self.make(seed, num, "async" if self.vector == "async" and not render else "sync", evaluation=True, render=render)

    def rendering(self) -> EnvChoice:
        """The same choice with rendering switched on, because some libraries must know it when a game is made."""
        return self

    def make(
        self,
        seed: int,
        num: int | None = None,
        vector: str | None = None,
        evaluation: bool = False,
        first_episode: int = 0,
        render: bool = False,
        first: int = 0,
    ) -> Environments:
        """The environments of a run with this seed; see `Environments`. Evaluation has its own seeds and whole episodes. `render` works
        only for evaluation in this process."""
        if render:
            if not evaluation or vector != "sync":
                raise ValueError("only environments for evaluation in one process (vector=sync) can be rendered")
            return self.rendering().make(seed, num, vector, evaluation, first_episode)
        num = self.num if num is None else num
        vector = self.vector if vector is None else vector
        if vector not in self.vectors:
            raise ValueError(f"env.vector={vector} does not exist for {self.name}: use one of {', '.join(self.vectors)}")
        return self.stepped(seed, num, vector, evaluation, first_episode, first)

    def stepped(self, seed: int, num: int, vector: str, evaluation: bool, first_episode: int, first: int) -> Environments:
        """What `make` gives, of checked arguments."""
        backend = self.backend(vector, num, evaluation)
        return Environments(
            backend, self.name, seed, evaluation, first_episode, self.reseed_every, self.on_error, first, () if evaluation else self.info
        )
