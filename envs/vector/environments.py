"""The environment layer: M copies of one environment, each ending its own episodes.

A tick is M real environment steps, always. When a step ends an episode, that environment is reset at once, with its own seed, so that the
row holds both the true last observation (`next_obs`) and the one to act on next (`obs`). The episodes depend on the run's seed and on the
actions, not on the backend. `state_dict` returns the journals of all environments (`Journal`), and `load_state_dict` replays them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from deeprl.errors import Failed, NotFinite
from deeprl.noise import episode_seed
from deeprl.system.terminal import say

from .backend import Backend, Failure, StepResult, own, usable
from .info import NOTHING, Info
from .journal import Journal, possible
from .observations import NUMPY, fault_of_shown
from .repeat import repeat

RESTARTS = 100
"""Largest number of failures of one environment in a row, without a step between them, under `env.on_error=restart`. A step that ends its
episode before the reset fails counts as a step."""


NEVER = 1 << 62
"""More episodes than any environment plays."""


class VectorStep(NamedTuple):
    """One tick of M environments. `obs` and `next_obs` are the same array where no episode ended: read them, do not write."""

    obs: np.ndarray
    """(M, *obs) to act on next; where an episode ended, the first observation of the new one"""
    next_obs: np.ndarray
    """(M, *obs) true observation after the action; where an episode ended, its last one"""
    reward: np.ndarray
    """(M,) float32, raw"""
    terminated: np.ndarray
    """(M,) bool: no bootstrap. A lost life may be terminated without ended; a time limit is ended without terminated."""
    ended: np.ndarray
    """(M,) bool: episode boundary after this step"""
    info: Sequence[Info]
    """(M,) numbers of the episodes that ended, by name; empty where none ended"""


class EnvironmentFailed(Failed):
    """An environment raised, hung, died or returned NaN, and `env.on_error` is `fail`."""


class Environments:
    """M environments behind one `reset` and `step`.

    Args:
        backend: runs the games.
        name: of the environment, for messages.
        seed: the run's seed. Episode e of environment i is seeded with `episode_seed(seed, i, e, evaluation)`.
        first: i of the first environment, where others are stepped elsewhere.
        names: of the numbers that episodes are asked for; a line on stderr says which of them the first episode lacks.
        first_episode: number of the first episode of each environment, so that later evaluations need not repeat earlier ones.
        reseed_every: episodes with a number divisible by it take a fresh seed, the others go on with the generators as they are. Where the
            backend can only reset all environments together, only a reset of all has seeds.
        on_error: "fail" raises `EnvironmentFailed`; "restart" rebuilds the environment, truncates the episode and counts the restart.
            Neither applies where a worker process died or hung once, because that environment is restored from its seed and actions.

    Attributes:
        obs: (M, *obs), observations to act on; None before the first reset.
        broken: environments whose running episode could not be restored by the last `load_state_dict`.
        num_restarts: episodes cut off by a failure so far.
        restarted: environments whose episode the last `step` cut off.
        num_recreated: workers that this process has replaced during an episode.
        replay_actions: number of actions in the longest journal that is replayed.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        seed: int,
        evaluation: bool = False,
        first_episode: int = 0,
        reseed_every: int = 1,
        on_error: str = "fail",
        first: int = 0,
        names: Iterable[str] = (),
    ):
        self.backend, self.name, self.first = backend, name, first
        self.seed, self.evaluation, self.on_error = seed, evaluation, on_error
        self.reseed_every = reseed_every if backend.one_by_one else NEVER
        self.spec, self.num = backend.spec, backend.num
        self.obs: np.ndarray | None = None
        self.broken: list[int] = []
        self.num_restarts = self.num_recreated = 0
        self.restarted: list[int] = []
        self.replay_actions = 100_000
        self._asked = set(names)
        self._failed_in_a_row = [0] * self.num
        self._journals = [Journal(self.spec, first_episode - 1) for _ in range(self.num)]
        self._seeds: list[int | None] = [None] * self.num  # for the reset that follows each running episode

    def to_env_action(self, action: np.ndarray) -> np.ndarray:
        """(M,) int64 or (M, D) float32 in [-1, 1] -> actions as the environment takes them."""
        return self.backend.actions.to_env(action)

    def reset(self) -> np.ndarray:
        """Start a freshly seeded episode in every environment. Returns (M, *obs)."""
        self._start(range(self.num))
        assert self.obs is not None
        return self.obs

    def step(self, action: np.ndarray) -> VectorStep:
        """`action`: (M,) int64 or (M, D) float32 in [-1, 1].

        Raises:
            EnvironmentFailed: an environment raised, hung, died or returned NaN, and `env.on_error` is `fail`.
            ValueError: the actions have the wrong shape or range.
        """
        if self.obs is None:
            raise RuntimeError("reset the environments before the first step")
        action = self._checked(action)
        self.restarted = []
        answers = [usable(answer, self.spec) for answer in self.backend.step(self.backend.actions.to_env(action), self._seeds)]
        used = [self._recover(i, action, answer) if isinstance(answer, Failure) else answer for i, answer in enumerate(answers)]
        first, last, reward, terminated, ended, info = zip(*used)
        next_obs = np.array(last)
        self.obs = np.array(first) if any(ended) else next_obs
        for i, (journal, answer) in enumerate(zip(self._journals, used)):
            journal.note(action[i], answer, self.replay_actions)
            if i not in self.restarted:
                self._failed_in_a_row[i] = 0
            if answer[4]:
                self._begin(i, answer[0])
                if self._asked and i not in self.restarted:
                    self._tell_missing(answer[5])
        return VectorStep(self.obs, next_obs, np.array(reward, np.float32), np.array(terminated, bool), np.array(ended, bool), info)

    def _tell_missing(self, info: Info) -> None:
        """Say once which numbers the first episode that ends does not tell. `is_success` is asked of every environment."""
        missing, self._asked = sorted(self._asked - {*info, "is_success"}), set()
        if missing:
            say(f"log.info: {', '.join(missing)} did not stand in info at the end of an episode of {self.name}")

    def truncate_episodes(self, after: VectorStep, which: list[int]) -> VectorStep:
        """End the running episodes of `which` as a time limit would have: the last tick, `after`, with fresh episodes in these.

        Raises:
            RuntimeError: the backend cannot reset some environments without the others.
        """
        if not (self.backend.one_by_one or len(which) == self.num):
            raise RuntimeError(f"{self.name} cannot reset environments {which} alone: give it a time limit")
        told = dict(zip(which, self.backend.told(which)))  # before the reset, which forgets it
        self._start(which)
        assert self.obs is not None
        ended = after.ended | np.isin(np.arange(self.num), which)
        return after._replace(obs=self.obs, ended=ended, info=[told.get(i, info) for i, info in enumerate(after.info)])

    def _checked(self, action: np.ndarray) -> np.ndarray:
        spec = self.spec
        action = np.ascontiguousarray(action, np.int64 if spec.num_actions else np.float32)
        shape = (self.num,) if spec.num_actions else (self.num, spec.action_dim)
        if action.shape != shape:
            raise ValueError(f"actions have shape {action.shape}, not {shape}")
        if spec.num_actions:
            for value in action.tolist():
                if not 0 <= value < spec.num_actions:
                    raise ValueError(f"action {value} is not one of the {spec.num_actions} of {self.name}")
        elif not np.isfinite(action).all():
            raise NotFinite(f"the agent's actions hold NaN or Inf: {action}")
        return action

    def _seed_of(self, index: int, episode: int, fresh: bool = False) -> int | None:
        return episode_seed(self.seed, self.first + index, episode, self.evaluation) if fresh or episode % self.reseed_every == 0 else None

    def _blank(self) -> np.ndarray:
        return np.zeros((self.num, *self.spec.obs_shape), NUMPY[self.spec.obs_dtype])

    def _begin(self, index: int, obs: np.ndarray) -> None:
        """Record that an episode starts with `obs`, after a reset with the seed in `_seeds`."""
        journal = self._journals[index]
        journal.begin(self._seeds[index], obs)
        self._seeds[index] = self._seed_of(index, journal.episode + 1)

    def _start(self, indices: Iterable[int]) -> None:
        """Start freshly seeded episodes in `indices`; the other rows of `obs` stay as they are."""
        obs = self._blank() if self.obs is None else self.obs.copy()
        for i, first in self._reset(indices).items():
            obs[i] = first
            self._begin(i, first)
        self.obs = obs

    def _reset(self, indices: Iterable[int]) -> dict[int, np.ndarray]:
        """First observations, after resets with fresh seeds.

        Raises:
            EnvironmentFailed: at the first reset in training under either `on_error`, because it shows an environment that does not work.
                In the evaluations of a run it has worked before.
        """
        firsts = self._tried(indices)
        for i, first in firsts.items():
            if isinstance(first, Failure):
                if self._journals[i].episode < 0 and not self.evaluation:
                    raise self._failed(i, first) from first.error
                firsts[i] = self._first_again(i, first)
        return firsts

    def _first_again(self, index: int, failure: Failure) -> np.ndarray:
        """First observation in place of the failure of a reset: a lost worker is replaced once, with the same seed."""
        if failure.lost:
            try:
                self.backend.rebuild(index)
                first = self._tried([index])[index]
            except RuntimeError as error:
                first = Failure(str(error), error)
            if not isinstance(first, Failure):
                self.num_recreated += 1
                self._warn(index, failure, "made again from its seed, nothing is lost", 6)
                return first
            failure = first
        return self._restart(index, failure)

    def _tried(self, indices: Iterable[int]) -> dict[int, Any]:
        """First observations, or failures, after resets with fresh seeds."""
        for i in indices:
            self._seeds[i] = self._seed_of(i, self._journals[i].episode + 1, fresh=True)
        firsts = self.backend.reset({i: self._seeds[i] for i in indices})
        faults = {i: fault_of_shown(first, self.spec) for i, first in firsts.items() if not isinstance(first, Failure)}
        return {i: Failure(faults[i]) if faults.get(i) else first for i, first in firsts.items()}

    # ----- failures

    def _recover(self, index: int, action: np.ndarray, failure: Failure) -> StepResult:
        """Answer in place of `failure`."""
        if failure.lost:
            again = self._recreate(index, action)
            if not isinstance(again, Failure):
                self.num_recreated += 1
                self._warn(index, failure, f"made again from its seed and {self._journals[index].count} actions, nothing is lost")
                return again
            failure = Failure(f"{failure.cause}, and could not be made again: {again.cause}", again.error, step=again.step)
        first = self._restart(index, failure)
        self.num_restarts += 1
        if failure.step is not None:
            return first, *failure.step[:3], True, failure.step[3]
        self.restarted.append(index)
        assert self.obs is not None
        return first, self.obs[index], 0.0, False, True, NOTHING  # a truncation without a step

    def _restart(self, index: int, failure: Failure) -> np.ndarray:
        """First observation of a fresh environment in place of the one that failed. One that cannot be made or reset is tried again,
        because a simulator or a server may need a moment, and with the next seed, because the reset of one may fail for ever."""
        while True:
            self._failed_in_a_row[index] += 1
            if self.on_error == "fail" or self._failed_in_a_row[index] > RESTARTS:
                raise self._failed(index, failure) from failure.error
            self._warn(index, failure, "restarted", 6)
            try:
                self.backend.rebuild(index)
            except BaseException as error:
                failure = Failure(f"a fresh one could not be made: {type(error).__name__}: {error}", own(error))
                continue
            first = self._tried([index])[index]
            if not isinstance(first, Failure):
                return first
            failure, self._journals[index].episode = first, self._journals[index].episode + 1

    def _recreate(self, index: int, action: np.ndarray) -> StepResult | Failure:
        """Answer to `action`, (M, ...), of a new environment in the state of the old one."""
        try:
            self.backend.rebuild(index)
        except RuntimeError as error:
            return Failure(str(error), error)
        failures = repeat(self.backend, {index: self._journals[index].entry()}, self.replay_actions).failures
        if failures:
            return failures[index]
        return usable(self.backend.step(self.backend.actions.to_env(action), self._seeds, [index])[index], self.spec)

    def _what(self, index: int) -> str:
        journal = self._journals[index]
        where = f"at step {journal.steps} of its episode {journal.episode}" if journal.episode >= 0 else "at its first reset"
        where += " in an evaluation" if self.evaluation else ""
        return f"environment {self.first + index} of {self.name} failed {where}"

    def _failed(self, index: int, failure: Failure) -> EnvironmentFailed:
        return EnvironmentFailed(self._what(index), failure.cause, self._remedy(index))

    def _remedy(self, index: int) -> str:
        times = self._failed_in_a_row[index]
        if times > RESTARTS:
            return f"so it was {times} times in a row"
        if self.on_error != "restart" and self._journals[index].episode < 0 and not self.evaluation:
            return ""  # the environment does not work
        if not self.backend.replaces:
            return "none of its environments can be replaced"
        if self.on_error == "restart":
            return "env.on_error=restart replaces an environment after its first reset only"
        return "env.on_error=restart ends such an episode and goes on with a fresh environment"

    def _warn(self, index: int, failure: Failure, outcome: str, level: int = 5) -> None:
        """`level`: of the caller of `step`, as in `warnings.warn`."""
        warnings.warn(f"{self._what(index)}: {failure.cause}; {outcome}", RuntimeWarning, stacklevel=level)

    # ----- journals

    def state_dict(self) -> dict:
        """Journals of the running episodes. Arrays are NumPy, everything else is JSON-able."""
        journals = self._journals if self.obs is not None else []
        environments = {str(i): journal.entry() for i, journal in enumerate(journals)}
        return {"num": self.num, "num_restarts": self.num_restarts, "environments": environments}

    def load_state_dict(self, state: dict) -> np.ndarray | None:
        """Restore the state of `state_dict` by replaying the journals; returns (M, *obs) to act on, which is also `obs`.

        An environment that cannot be restored (it is not deterministic, or its journal is too long) starts a new episode. `broken` lists
        it, and the recorder of its running episode must mark that one as truncated.
        """
        if state["num"] != self.num:
            raise ValueError(f"the state holds {state['num']} environments, env.num is {self.num}: resume with the same number")
        self.num_restarts = int(state["num_restarts"])
        self.broken, self.obs = [], None
        if not state["environments"]:
            return None
        entries = {i: state["environments"][str(i)] for i in range(self.num)}
        for i, entry in entries.items():
            if not possible(entry, self.spec):
                raise ValueError(f"the journal of environment {i} holds actions, a seed or an episode that it cannot have")
        journals, obs, failures, interrupted = repeat(self.backend, entries, self.replay_actions)
        for i in interrupted if self.backend.replaces else ():
            self.backend.rebuild(i)
        if failures and not (self.backend.one_by_one and (self.backend.replaces or not interrupted)):
            failures = {i: failures.get(i, Failure("it can only be reset with the others")) for i in entries}
        self._journals = [journals[i] for i in range(self.num)]
        self._seeds = [self._seed_of(i, journal.episode + 1) for i, journal in enumerate(self._journals)]
        self.obs = self._blank()
        for i, last in obs.items():
            self.obs[i] = last
        self.broken = sorted(failures)
        if failures:
            which = "; ".join(f"environment {i}: {failures[i].cause}" for i in self.broken)
            warnings.warn(f"{self.name} starts new episodes where it could not be restored. {which}", RuntimeWarning, stacklevel=2)
            self._start(self.broken)
        return self.obs

    def close(self) -> None:
        """End the environments and their processes; a second call does nothing."""
        self.backend.close()
