"""Worlds of which all copies step as one operation on tensors.

A `TensorWorld` says what happens; the class `TensorEnvironments` ends and begins episodes. All state is in tensors, so that a run goes on
from its checkpoint bit for bit without repeating an episode. Random numbers are a function of the run's seed, the environment, its episode
and its step, so that a copy does not depend on how many there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import in_range
from deeprl.system.terminal import say
from deeprl.types import Spec

from .backend import LARGEST, Game
from .choice import EnvChoice
from .environments import EnvironmentFailed, Environments, VectorStep
from .info import NOTHING
from .spaces import Actions

GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""Constants of SplitMix64 (Steele, Lea and Flood, 2014), as signed numbers: torch has no unsigned products"""
State = dict[str, Tensor]
"""Tensors (M, …) by name"""


def mix(key: Tensor) -> Tensor:
    """SplitMix64 of int64 keys: the output of the generator whose state was `key` before the call."""
    key = key + GOLDEN
    key = (key ^ (key >> 30 & (1 << 34) - 1)) * FIRST
    key = (key ^ (key >> 27 & (1 << 37) - 1)) * SECOND
    return key ^ (key >> 31 & (1 << 33) - 1)


def uniforms(keys: Tensor, count: int) -> Tensor:
    """(n,) keys -> (n, count) float64 in [0, 1), of 53 bits."""
    places = torch.arange(count, device=keys.device) * GOLDEN
    return (mix(keys.unsqueeze(-1) + places) >> 11 & (1 << 53) - 1).double() * 2.0**-53


class TensorWorld(ABC):
    """M copies of one environment as pure functions of tensors. TensorBackend do not meet: row i of each result depends on rows i alone.

    Attributes:
        draws: uniform numbers that the start of an episode takes.
        noise: uniform numbers that a step takes.
        limit: steps after which an episode is truncated.
    """

    spec: Spec
    actions: Actions
    draws: int = 0
    noise: int = 0
    limit: int | None = None

    @abstractmethod
    def begin(self, draws: Tensor) -> State:
        """States (n, …) at the start of episodes, of uniform numbers (n, draws) float64."""

    @abstractmethod
    def advance(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        """A step: new states, rewards (M,) and (M,) bool whether they are terminal. `action` is in the environment's own form; `noise`
        (M, noise) float64 uniform."""

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """(M, *obs) of `spec.obs_dtype`."""

    def frame(self, state: State) -> np.ndarray:
        """(H, W, 3) uint8, RGB: the picture of the only copy."""
        raise NotImplementedError("it draws no frames")


class TensorEnvironments(Environments):
    """M copies behind the interface of `Environments`, which steps games one by one. Nothing here can fail but the numbers.

    Args:
        world, num: M copies of it.
        name, seed, evaluation, first_episode, first: as in `Environments`.
    """

    def __init__(self, world: TensorWorld, num: int, name: str, seed: int, evaluation: bool, first_episode: int, first: int):
        self.world, self.num, self.name, self.first = world, num, name, first
        self.spec, self.limit = world.spec, world.limit or 1 << 62
        self.backend: Any = TensorBackend(self)
        self.obs: np.ndarray | None = None
        self.broken, self.restarted = [], []
        self.num_restarts = self.num_recreated = self.replay_actions = 0
        run = mix(mix(torch.tensor((2 * seed + evaluation) % (1 << 63))))
        self.keys = mix(run + torch.arange(first, first + num))  # (M,) of the environments
        self.episode = torch.full((num,), first_episode - 1)
        self.steps = torch.zeros(num, dtype=torch.int64)
        self.state: State = {}
        self.info = (NOTHING,) * num
        self.checked = False
        """Whether a first step has had the form that it must have"""

    def to_env_action(self, action: np.ndarray) -> np.ndarray:
        return self.world.actions.to_env(action)

    def _numbers(self, which: Tensor, step: Tensor, count: int) -> Tensor:
        """(n, count) uniform numbers of one step of the running episodes of `which`; the start of an episode is step 0."""
        return uniforms(mix(mix(self.keys[which] + self.episode[which]) + step), count)

    def _begin(self, which: Tensor) -> None:  # type: ignore[override]  # of many
        """Start the next episode of the environments `which`, (n,)."""
        self.episode[which] += 1
        self.steps[which] = 0
        fresh = self.world.begin(self._numbers(which, self.steps[which], self.world.draws))
        self.state = {name: value.index_copy(0, which, fresh[name]) for name, value in self.state.items()} if self.state else fresh

    def reset(self) -> np.ndarray:
        self.state = {}
        self._begin(torch.arange(self.num))
        self.obs = self._seen(self.state).numpy()
        return self.obs

    def _seen(self, state: State) -> Tensor:
        """Observations of a state.

        Raises:
            EnvironmentFailed: they are not those of the world's `spec`, or are not finite.
        """
        found, spec = self.world.observe(state), self.spec
        if found.dtype != spec.obs_dtype or found.shape != (self.num, *spec.obs_shape):
            told = f"{found.dtype} {tuple(found.shape)}, its spec says {spec.obs_dtype} {(self.num, *spec.obs_shape)}"
            raise EnvironmentFailed(f"{self.name} failed", f"its observations are {told}", "")
        if found.is_floating_point() and not torch.isfinite(found).all():
            raise EnvironmentFailed(f"{self.name} failed", "an observation is NaN or Inf", "its world computed it")
        return found

    def step(self, action: np.ndarray) -> VectorStep:
        if self.obs is None:
            raise RuntimeError("reset the environments before the first step")
        given = torch.from_numpy(self.to_env_action(self._checked(action)))
        self.steps += 1
        noise = self._numbers(torch.arange(self.num), self.steps, self.world.noise) if self.world.noise else torch.empty(self.num, 0)
        state, reward, terminated = self.world.advance(self.state, given, noise)
        if not self.checked:
            self._check(state, reward, terminated)
        self.state, after = state, self._seen(state)
        if not (reward.abs() <= LARGEST).all():
            raise EnvironmentFailed(f"{self.name} failed", "a reward is NaN or Inf", "its world computed it")
        next_obs, ended = after.numpy(), terminated | (self.steps >= self.limit)
        self.obs = next_obs
        if ended.any():
            self._begin(ended.nonzero().squeeze(1))
            self.obs = self.world.observe(self.state).numpy()
        return VectorStep(self.obs, next_obs, reward.float().numpy(), terminated.numpy(), ended.numpy(), self.info)

    def _check(self, state: State, reward: Tensor, terminated: Tensor) -> None:
        """Once: what `advance` answers has the form of `begin`, and of M copies.

        Raises:
            EnvironmentFailed: it has another.
        """
        forms = [{name: (value.shape, value.dtype) for name, value in each.items()} for each in (self.state, state)]
        if forms[0] != forms[1]:
            raise EnvironmentFailed(f"{self.name} failed", f"advance answers with {forms[1]}, begin with {forms[0]}", "")
        if reward.shape != (self.num,) or terminated.shape != (self.num,) or terminated.dtype != torch.bool:
            what = f"rewards {tuple(reward.shape)} and terminals {tuple(terminated.shape)} of {terminated.dtype}"
            raise EnvironmentFailed(f"{self.name} failed", f"advance answers with {what}, not with ({self.num},) and booleans", "")
        self.checked = True

    def _checked(self, action: np.ndarray) -> np.ndarray:
        spec = self.spec
        shape = (self.num,) if spec.num_actions else (self.num, spec.action_dim)
        if action.shape != shape:
            raise ValueError(f"actions have shape {action.shape}, not {shape}")
        if spec.num_actions and not (action.min() >= 0 and action.max() < spec.num_actions):
            raise ValueError(f"the actions {action.min()} to {action.max()} are not among the {spec.num_actions} of {self.name}")
        if not spec.num_actions and not np.isfinite(action).all():
            raise ValueError("the agent's actions hold NaN or Inf")
        return action

    def truncate_episodes(self, after: VectorStep, which: list[int]) -> VectorStep:
        self._begin(torch.tensor(which))
        self.obs = self.world.observe(self.state).numpy()
        ended = after.ended.copy()
        ended[which] = True
        return after._replace(obs=self.obs, ended=ended)

    # ----- checkpoints

    def state_dict(self) -> dict:
        """The state itself, as arrays: no episode is repeated to restore it."""
        started = {name: value.numpy().copy() for name, value in self.state.items()} if self.obs is not None else {}
        return {"num": self.num, "episode": self.episode.numpy().copy(), "steps": self.steps.numpy().copy(), "state": started}

    def load_state_dict(self, state: dict) -> np.ndarray | None:
        """
        Raises:
            ValueError: the state is that of another number of copies, or of another world.
        """
        if state["num"] != self.num:
            raise ValueError(f"the state holds {state['num']} environments, env.num is {self.num}: resume with the same number")
        self.episode, self.steps, self.obs, self.state = counted(state, "episode", self.num), counted(state, "steps", self.num), None, {}
        if not state["state"]:
            return None
        like = self.world.begin(torch.zeros(self.num, self.world.draws, dtype=torch.float64))
        found = {name: torch.from_numpy(np.array(value)) for name, value in state["state"].items()}
        if {name: (value.shape, value.dtype) for name, value in found.items()} != {n: (v.shape, v.dtype) for n, v in like.items()}:
            raise ValueError(f"the state of {self.name} has other tensors than {', '.join(like)} of {self.num} copies")
        observed = self.world.observe(found)
        if not all(torch.isfinite(value).all() for value in (*found.values(), observed)):
            raise ValueError(f"the state of {self.name} is not finite")
        if self.steps.min() < 0 or self.steps.max() >= self.limit or self.episode.min() < 0:
            raise ValueError(f"the state of {self.name} holds steps or episodes that no run has")
        self.state, self.obs = found, observed.numpy()
        return self.obs

    def close(self) -> None:
        """Nothing to end."""


def counted(state: dict, name: str, num: int) -> Tensor:
    """
    Raises:
        ValueError: they are not `num` integers.
    """
    found = np.array(state[name])
    if found.shape != (num,) or found.dtype != np.int64:
        raise ValueError(f"the environments' {name} has shape {found.shape} and type {found.dtype}, not ({num},) and int64")
    return torch.from_numpy(found)


class TensorBackend:
    """What other parts ask a backend for."""

    conversion = None

    one_by_one = True

    def __init__(self, envs: TensorEnvironments):
        self.envs, self.limit = envs, envs.world.limit

    def game(self, index: int) -> Game:
        """One copy in its running episode, to be stepped alone and drawn."""
        return Shown(self.envs, index)


class OneCopy(Game):
    """One copy as a game, for pictures and for what looks at a single environment."""

    def __init__(self, world: TensorWorld):
        self.world, self.spec, self.actions, self.limit = world, world.spec, world.actions, world.limit
        self.key, self.elapsed = torch.zeros(1, dtype=torch.int64), 0
        self.state: State = {}

    def reset(self, seed):
        self.key = mix(self.key) if seed is None else mix(torch.tensor([seed]))
        self.elapsed = 0
        self.state = self.world.begin(self._numbers(self.world.draws))
        return self.world.observe(self.state)[0].numpy()

    def step(self, action):
        self.elapsed += 1
        given = torch.from_numpy(np.asarray(action)).unsqueeze(0)
        self.state, reward, terminated = self.world.advance(self.state, given, self._numbers(self.world.noise))
        end = bool(terminated)
        return self.world.observe(self.state)[0].numpy(), float(reward), end, end or (self.limit is not None and self.elapsed >= self.limit)

    def _numbers(self, count: int) -> Tensor:
        return uniforms(mix(self.key + self.elapsed), count)

    def frame(self):
        return self.world.frame(self.state)


class Shown(OneCopy):
    """One copy of several: theirs until it is drawn or stepped, and from then on alone."""

    def __init__(self, envs: TensorEnvironments, index: int):
        super().__init__(envs.world)
        self.envs, self.index = envs, index

    def _taken(self) -> None:
        if not self.state:
            which = torch.tensor([self.index])
            self.key, self.elapsed = mix(self.envs.keys[which] + self.envs.episode[which]), int(self.envs.steps[self.index])
            self.state = {name: value[which] for name, value in self.envs.state.items()}

    def step(self, action):
        self._taken()
        return super().step(action)

    def frame(self):
        self._taken()
        return super().frame()


@dataclass(frozen=True, kw_only=True)
class TensorChoice(EnvChoice):
    """An environment choice whose `world()` is a `TensorWorld`. The other keys of `env` are as everywhere, except that copies step
    together (`vector=sync`), and every episode has random numbers of its own (`reseed_every=1`)."""

    vectors: ClassVar[tuple[str, ...]] = ("sync",)

    max_episode_steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, max_episode_steps=(1, None))
        if self.reseed_every != 1 or self.on_error != "fail":
            given = f"reseed_every={self.reseed_every}, on_error={self.on_error}"
            raise ValueError(f"{given}: a tensor world takes reseed_every=1 and on_error=fail, because episodes are functions of the seed")

    def world(self) -> TensorWorld:
        raise NotImplementedError

    def build(self, evaluation: bool = False) -> Game:
        return OneCopy(self.world())

    def stepped(self, seed: int, num: int, vector: str, evaluation: bool, first_episode: int, first: int) -> Environments:
        asked = [name for name in self.info if name != "is_success"]
        if asked and not evaluation:
            say(f"log.info: {', '.join(asked)} do not stand in info of {self.name}, which tells no numbers")
        return TensorEnvironments(self.world(), num, self.name, seed, evaluation, first_episode, first)
