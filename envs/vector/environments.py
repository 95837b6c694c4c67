"""The environment layer: M copies of one environment, each ending its own episodes.

A tick is M real environment steps, always. When a step ends an episode, that environment is reset at once, with its own seed, so the
row carries both the true last observation (`next_obs`) and the one to act on next (`obs`). Which episodes come out depends on the run's
seed and on the actions, not on the backend. `state_dict` returns the journals of all environments (`Journal`), and `load_state_dict`
replays them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from deeprl.noise import episode_seed

from .backend import Answer, Backend, Failure
from .journal import Journal
from .spaces import not_finite

NUMPY = {torch.float32: np.float32, torch.uint8: np.uint8}


LARGEST = float(np.finfo(np.float32).max)


class Step(NamedTuple):
    """One tick of M environments. `obs` and `next_obs` are the same array where no episode ended: read them, do not write."""

    obs: np.ndarray
    """(M, *obs) to act on next: the first observation of the new episode where one ended"""
    next_obs: np.ndarray
    """(M, *obs) true observation after the action: the last one of the episode where it ended"""
    reward: np.ndarray
    """(M,) float32, raw"""
    terminated: np.ndarray
    """(M,) bool: no bootstrap. A lost life may be terminated without ended; a time limit is ended without terminated."""
    ended: np.ndarray
    """(M,) bool: episode boundary after this step"""
    first: np.ndarray
    """(M,) bool: `obs` starts an episode; equal to `ended`"""


class EnvironmentFailed(RuntimeError):
    """An environment raised, hung, died or returned NaN, and `env.on_error` is `fail`."""


class Environments:
    """M environments behind one `reset` and `step`.

    Args:
        backend: runs the games.
        name: for messages.
        seed: the run's seed. Episode e of environment i is seeded with `episode_seed(seed, i, e, evaluation)`.
        first_episode: number of the first episode of each environment, so that later evaluations need not repeat earlier ones.
        reseed_every: episodes with a number divisible by it take a fresh seed, the others go on with the generators as they are.
        on_error: "fail" raises `EnvironmentFailed`; "restart" rebuilds the environment, truncates the episode and counts. Neither is asked
            where a worker process died or hung once: that environment is made again from its seed and actions, and nothing is lost.

    Attributes:
        obs: (M, *obs), what to act on; None before the first reset.
        broken: environments whose running episode could not be restored by the last `load_state_dict`.
        num_restarts: episodes cut off by a failure so far.
        num_recreated: environments that this process has given a new worker, in mid-episode.
        replay_actions: longest journal worth replaying.
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
    ):
        self.backend, self.name = backend, name
        self.seed, self.evaluation, self.reseed_every, self.on_error = seed, evaluation, reseed_every, on_error
        self.spec, self.num = backend.spec, backend.num
        self.obs: np.ndarray | None = None
        self.broken: list[int] = []
        self.num_restarts = self.num_recreated = 0
        self.replay_actions = 100_000
        self._dtype = NUMPY[self.spec.obs_dtype]
        self._shape = (self.num, *self.spec.obs_shape)
        self._no_obs = np.zeros(self._shape, self._dtype).reshape(-1)
        self._no_reward = np.zeros(self.num, np.float32)
        self._no_action = np.zeros(self.num * self.spec.action_dim, np.float32)
        self._journals = [Journal(first_episode - 1) for _ in range(self.num)]
        self._seeds: list[int | None] = [None] * self.num  # for the reset that follows each running episode

    def to_env_action(self, action: np.ndarray) -> np.ndarray:
        """(M,) int64 or (M, D) float32 in [-1, 1] -> actions as the environment takes them."""
        return self.backend.actions.to_env(action)

    def reset(self) -> np.ndarray:
        """Start a new episode, freshly seeded, everywhere. Returns (M, *obs)."""
        self._start(range(self.num))
        assert self.obs is not None
        return self.obs

    def step(self, action: np.ndarray) -> Step:
        """`action`: (M,) int64 or (M, D) float32 in [-1, 1].

        Raises:
            EnvironmentFailed: an environment raised, hung, died or returned NaN, and `env.on_error` is `fail`.
            ValueError: the actions have the wrong shape or range.
        """
        if self.obs is None:
            raise RuntimeError("reset the environments before the first step")
        action = self._checked(action)
        answers = self.backend.step(self.backend.actions.to_env(action), self._seeds)
        single = self._note_one(action, answers[0]) if self.num == 1 else None
        return single or self._note(action, answers, range(self.num))

    def _note_one(self, action: np.ndarray, answer: Answer | Failure | None) -> Step | None:
        """`_note` of a single environment, without arrays where numbers do; None, and nothing is done, if its answer cannot be used."""
        if answer is None or isinstance(answer, Failure):
            return None
        first, last, gain, terminated, ended = answer
        dtype, shape = self._dtype, self.spec.obs_shape
        if last.dtype != dtype or last.shape != shape or (ended and first.shape != shape):
            return None
        next_obs = np.array(last[None], order="C")
        if not -LARGEST <= gain <= LARGEST or (dtype is np.float32 and next_obs.reshape(-1).dot(self._no_obs) != 0.0):
            return None
        journal, obs = self._journals[0], next_obs
        journal.note(action.tobytes(), self._newest(next_obs)[0], gain, terminated, ended, self.replay_actions)
        if ended:
            obs = np.array(first[None], dtype, order="C")
            journal.begin(self._seeds[0], obs[0])
            self._seeds[0] = self._seed_of(0, journal.episode + 1)
        self.obs = obs
        flag = np.array([ended], bool)
        return Step(obs, next_obs, np.array([gain], np.float32), np.array([terminated], bool), flag, flag)

    def _note(self, action: np.ndarray, answers: list, indices: Iterable[int]) -> Step:
        """Enter the answers in the journals and put them in arrays."""
        assert self.obs is not None
        shape, dtype = self.spec.obs_shape, self._dtype
        next_obs = np.zeros(self._shape, dtype)
        reward = np.zeros(self.num, np.float32)
        terminated = np.zeros(self.num, bool)
        ended = np.zeros(self.num, bool)
        for i in indices:
            answer = answers[i]
            if type(answer) is not Failure and (answer[1].shape != shape or answer[1].dtype != dtype):
                kind = f"{answer[1].dtype} of shape {answer[1].shape}"
                answer = Failure(f"observation is {kind}, not {np.dtype(self._dtype)} of shape {self.spec.obs_shape}")
            if type(answer) is Failure:
                answer = answers[i] = self._recover(i, action, answer)
            _, next_obs[i], reward[i], terminated[i], ended[i] = answer
        # 0 * x is 0 for every finite x and NaN for the rest
        if reward.dot(self._no_reward) != 0.0 or (dtype is np.float32 and next_obs.reshape(-1).dot(self._no_obs) != 0.0):
            for i in indices:
                fault = fault_of(next_obs[i], reward[i])
                if fault:
                    answers[i] = self._recover(i, action, Failure(fault))
                    _, next_obs[i], reward[i], terminated[i], ended[i] = answers[i]
        obs = next_obs.copy() if True in ended.tolist() else next_obs
        newest = self._newest(next_obs)
        limit = self.replay_actions
        for i in indices:
            journal = self._journals[i]
            journal.note(action[i].tobytes(), newest[i], reward[i], terminated[i], ended[i], limit)
            if ended[i]:
                obs[i] = answers[i][0]
                journal.begin(self._seeds[i], obs[i])
                self._seeds[i] = self._seed_of(i, journal.episode + 1)
        self.obs = obs
        return Step(obs, next_obs, reward, terminated, ended, ended)

    def _newest(self, obs: np.ndarray) -> np.ndarray:
        """What a hash needs of (M, *obs): older frames were hashed when they were new."""
        return obs[:, -1] if self.spec.frame_stack > 1 else obs

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
        elif action.reshape(-1).dot(self._no_action) != 0.0:
            raise ValueError(f"the agent's actions hold NaN or Inf: {action}")
        return action

    def _seed_of(self, index: int, episode: int, fresh: bool = False) -> int | None:
        return episode_seed(self.seed, index, episode, self.evaluation) if fresh or episode % self.reseed_every == 0 else None

    def _start(self, indices: Iterable[int]) -> None:
        """Freshly seeded episodes; leaves the other rows of `obs` as they are."""
        seeds = {i: self._seed_of(i, self._journals[i].episode + 1, fresh=True) for i in indices}
        obs = np.zeros(self._shape, self._dtype) if self.obs is None else self.obs.copy()
        for i, first in self.backend.reset(seeds).items():
            if type(first) is Failure:
                raise self._failed(i, first) from first.error
            obs[i] = first
            self._journals[i].begin(seeds[i], obs[i])
            self._seeds[i] = self._seed_of(i, self._journals[i].episode + 1)
        self.obs = obs

    def _recover(self, index: int, action: np.ndarray, failure: Failure) -> Answer:
        """The answer of an environment that gave none, or one that cannot be used."""
        if failure.lost:
            answer = self._recreate(index, action)
            if not isinstance(answer, Failure):
                self.num_recreated += 1
                journal = self._journals[index]
                warnings.warn(
                    f"environment {index} of {self.name}, step {journal.steps} of its episode {journal.episode}: {failure.cause}; "
                    f"made again from its seed and {journal.count} actions, nothing is lost",
                    RuntimeWarning,
                    stacklevel=5,
                )
                return answer
            failure = Failure(f"{failure.cause}, and could not be made again: {answer.cause}")
        return self._restart(index, failure)

    def _recreate(self, index: int, action: np.ndarray) -> Answer | Failure:
        """A new environment brought to where the old one was, and its answer to `action`, (M, ...)."""
        journal, again = self._journals[index], Journal(-1)
        seeds: list[int | None] = [None] * self.num
        if journal.count > self.replay_actions:
            return Failure(f"{journal.count} actions since its last seeded reset are too many to repeat")
        try:
            self.backend.rebuild(index)
        except RuntimeError as error:
            return Failure(str(error), error)
        first = self.backend.reset({index: journal.seed})[index]
        if isinstance(first, Failure):
            return first
        again.begin(journal.seed, first)
        one = np.zeros_like(action)
        for done in self._recorded(journal):
            one[index] = done
            answer = self.backend.step(self.backend.actions.to_env(one), seeds, [index])[index]
            if answer is None or isinstance(answer, Failure):
                return answer or Failure("no answer")
            obs, next_obs, reward, terminated, ended = answer
            again.note(b"", self._newest(next_obs[None])[0], reward, terminated, ended, 0)
            if ended:
                again.begin(None, obs)
        if again.digest() != journal.digest():
            return Failure("its replay from seed and actions came out differently, so it is not deterministic")
        answer = self.backend.step(self.backend.actions.to_env(action), self._seeds, [index])[index]
        return answer if answer is not None else Failure("no answer")

    def _restart(self, index: int, failure: Failure) -> Answer:
        """A fresh environment in place of one that failed: the transition is a truncation that leads nowhere."""
        if self.on_error == "fail":
            raise self._failed(index, failure) from failure.error
        assert self.obs is not None
        warnings.warn(f"{self._failed(index, failure).args[0].split('; env.on_error')[0]}; restarted", RuntimeWarning, stacklevel=4)
        self.num_restarts += 1
        self.backend.rebuild(index)
        self._seeds[index] = self._seed_of(index, self._journals[index].episode + 1, fresh=True)
        first = self.backend.reset({index: self._seeds[index]})[index]
        if isinstance(first, Failure):  # a fresh environment that cannot even be reset will not get better
            raise self._failed(index, first) from first.error
        return first, self.obs[index], 0.0, False, True

    def _failed(self, index: int, failure: Failure) -> EnvironmentFailed:
        journal = self._journals[index]
        return EnvironmentFailed(
            f"environment {index} of {self.name} failed at step {journal.steps} of its episode {journal.episode}: {failure.cause}; "
            "env.on_error=restart would go on with a fresh one"
        )

    # ----- journals

    def state_dict(self) -> dict:
        """Journals of the running episodes. Arrays are NumPy, everything else is JSON-able."""
        environments = {}
        for i, journal in enumerate(self._journals if self.obs is not None else ()):
            environments[str(i)] = {
                "episode": journal.episode,
                "steps": journal.steps,
                "seed": journal.seed,
                "count": journal.count,
                "hash": journal.digest(),
                "actions": self._recorded(journal),
            }
        return {"num": self.num, "num_restarts": self.num_restarts, "environments": environments}

    def _recorded(self, journal: Journal) -> np.ndarray:
        """(count,) int64 or (count, D) float32: the actions since the last seeded reset."""
        actions = np.frombuffer(bytes(journal.actions), np.int64 if self.spec.num_actions else np.float32)
        return actions if self.spec.num_actions else actions.reshape(-1, self.spec.action_dim)

    def load_state_dict(self, state: dict) -> np.ndarray | None:
        """Go back to where `state_dict` was taken, by replaying the journals; returns (M, *obs) to act on, also at `obs`.

        Where that is impossible (the environment is not deterministic, or the journal is too long) the environment starts a new
        episode: `broken` lists it, and its running episode must be marked as truncated by whoever recorded it.
        """
        if state["num"] != self.num:
            raise ValueError(f"the state holds {state['num']} environments, env.num is {self.num}: resume with the same number")
        self.num_restarts = int(state["num_restarts"])
        self.broken = []
        if not state["environments"]:
            self.obs = None
            return None
        saved = [state["environments"][str(i)] for i in range(self.num)]
        for i, entry in enumerate(saved):
            actions, seed = entry["actions"], entry["seed"]
            if self.spec.num_actions:
                fine = actions.dtype == np.int64 and actions.ndim == 1 and ((actions >= 0) & (actions < self.spec.num_actions)).all()
            else:
                fine = actions.dtype == np.float32 and actions.shape[1:] == (self.spec.action_dim,) and np.isfinite(actions).all()
            if not fine or type(seed) is not int or not 0 <= seed < 2**31 or not 0 <= int(entry["episode"]) < 2**62:
                raise ValueError(f"the journal of environment {i} holds actions, a seed or an episode that it cannot have")
        reasons = {i: self._too_long(s) for i, s in enumerate(saved) if self._too_long(s)}
        self._replay(saved, reasons)
        for i, entry in enumerate(saved):
            if i not in reasons and self._journals[i].digest() != entry["hash"]:
                reasons[i] = "its replay from seed and actions came out differently, so it is not deterministic"
            self._journals[i].episode, self._journals[i].steps = int(entry["episode"]), int(entry["steps"])
            self._seeds[i] = self._seed_of(i, int(entry["episode"]) + 1)
        self.broken = sorted(reasons)
        if reasons:
            which = "; ".join(f"environment {i}: {reasons[i]}" for i in self.broken)
            warnings.warn(f"{self.name} starts new episodes where it could not be restored. {which}", RuntimeWarning, stacklevel=2)
            self._start(self.broken)
        return self.obs

    def _too_long(self, entry: dict) -> str:
        count = int(entry["count"])
        if count <= self.replay_actions and len(entry["actions"]) == count:
            return ""
        return f"{count} actions since its last seeded reset are more than checkpoint.replay_actions={self.replay_actions}"

    def _replay(self, saved: list[dict], reasons: dict[int, str]) -> None:
        """Replay all journals so that they end together, the shorter ones starting later: a library's vector can only step all."""
        lengths = {i: len(entry["actions"]) for i, entry in enumerate(saved) if i not in reasons}
        spec = self.spec
        self._journals = [Journal(-1) for _ in range(self.num)]
        self._seeds = [None] * self.num
        self.obs = np.zeros(self._shape, self._dtype)
        total = max(lengths.values(), default=0)
        action = np.zeros(self.num, np.int64) if spec.num_actions else np.zeros((self.num, spec.action_dim), np.float32)
        running: list[int] = []
        for t in range(total + 1):
            starting = [i for i in lengths if i not in reasons and total - lengths[i] == t]
            for i, first in self.backend.reset({i: int(saved[i]["seed"]) for i in starting}).items() if starting else ():
                if type(first) is Failure:
                    reasons[i] = f"its replay failed: {first.cause}"
                    self.backend.rebuild(i)
                    continue
                self.obs[i] = first
                self._journals[i].begin(int(saved[i]["seed"]), self.obs[i])
            running = sorted({*running, *starting} - set(reasons))
            if t == total:
                break
            for i in running:
                action[i] = saved[i]["actions"][t - (total - lengths[i])]
            answers = self.backend.step(self.backend.actions.to_env(action), self._seeds, running)
            for i in tuple(running):
                answer = answers[i] or Failure("no answer")
                cause = answer.cause if isinstance(answer, Failure) else fault_of(answer[1], answer[2])
                if cause:
                    reasons[i] = f"its replay failed: {cause}"
                    self.backend.rebuild(i)
                    running.remove(i)
            self._note(action, answers, running)
            self._seeds = [None] * self.num  # whatever ended since the last seeded reset was followed by an unseeded one

    def close(self) -> None:
        """End the environments and their processes; a second call does nothing."""
        self.backend.close()


def fault_of(obs: np.ndarray, reward: float) -> str:
    """What is NaN or infinite in an answer; nothing if all is well."""
    return not_finite(obs) if np.isfinite(reward) else f"reward is {reward}"
