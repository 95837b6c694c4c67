"""Worlds of which all copies step as one operation on tensors.

A `TensorWorld` says what happens; the class `TensorEnvironments` ends and begins episodes. All state is in tensors, so that a run goes on
from its checkpoint bit for bit without repeating an episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import in_range
from deeprl.errors import NotFinite
from deeprl.system.terminal import say

from .backend import LARGEST, Game
from .choice import EnvChoice
from .environments import EnvironmentFailed, Environments, VectorStep
from .info import NOTHING
from .on_device import DeviceEnvironments, on_device
from .worlds import State, TensorWorld, mix, numbers, uniforms

__all__ = ["State", "TensorChoice", "TensorEnvironments", "TensorWorld"]


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
        """See `numbers`, of the running episodes of `which`."""
        return numbers(self.keys[which], self.episode[which], step, count)

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

    def formed(self, found: Tensor) -> Tensor:
        """Observations of all copies.

        Raises:
            EnvironmentFailed: they have not the form of the world's `spec`.
        """
        spec = self.spec
        if found.dtype != spec.obs_dtype or found.shape != (self.num, *spec.obs_shape):
            told = f"{found.dtype} {tuple(found.shape)}, its spec says {spec.obs_dtype} {(self.num, *spec.obs_shape)}"
            raise EnvironmentFailed(f"{self.name} failed", f"its observations are {told}", "")
        return found

    def _seen(self, state: State) -> Tensor:
        """Observations of a state.

        Raises:
            EnvironmentFailed: they are not those of the world's `spec`, or are not finite.
        """
        found = self.formed(self.world.observe(state))
        if found.is_floating_point() and not torch.isfinite(found).all():
            raise EnvironmentFailed(f"{self.name} failed", "an observation is NaN or Inf", "its world computed it")
        return found

    def step(self, action: np.ndarray) -> VectorStep:
        if self.obs is None:
            raise RuntimeError("reset the environments before the first step")
        given = torch.from_numpy(self.to_env_action(self._checked(action)))
        self.steps += 1
        noise = self._numbers(torch.arange(self.num), self.steps, self.world.noise) if self.world.noise else torch.empty(self.num, 0)
        before = {} if self.checked else {name: (value, value._version) for name, value in self.state.items()}
        state, reward, terminated = self.world.advance(self.state, given, noise)
        if changed := [name for name, (value, version) in before.items() if value._version != version]:
            what = f"advance changes {', '.join(changed)} of its state in place, and observations before the step with it: make new tensors"
            raise EnvironmentFailed(f"{self.name} failed", what, "")
        self.check(self.state, state, reward, terminated)
        self.state, after = state, self._seen(state)
        if not (reward.abs() <= LARGEST).all():
            raise EnvironmentFailed(f"{self.name} failed", "a reward is NaN or Inf", "its world computed it")
        next_obs, ended = after.numpy(), terminated | (self.steps >= self.limit)
        self.obs = next_obs
        if ended.any():
            self._begin(ended.nonzero().squeeze(1))
            self.obs = self.world.observe(self.state).numpy()
        return VectorStep(self.obs, next_obs, reward.float().numpy(), terminated.numpy(), ended.numpy(), self.info)

    def check(self, before: State, state: State, reward: Tensor, terminated: Tensor) -> None:
        """Once: what `advance` answers has the form of `begin`, and of M copies.

        Raises:
            EnvironmentFailed: it has another.
        """
        if self.checked:
            return
        forms = [{name: (value.shape, value.dtype) for name, value in each.items()} for each in (before, state)]
        if forms[0] != forms[1]:
            raise EnvironmentFailed(f"{self.name} failed", f"advance answers with {forms[1]}, begin with {forms[0]}", "")
        if reward.shape != (self.num,) or reward.dtype == torch.bool or terminated.shape != (self.num,) or terminated.dtype != torch.bool:
            what = f"rewards {tuple(reward.shape)} of {reward.dtype} and terminals {tuple(terminated.shape)} of {terminated.dtype}"
            raise EnvironmentFailed(
                f"{self.name} failed", f"advance answers with {what}, not with numbers and booleans of ({self.num},)", ""
            )
        self.checked = True

    def _checked(self, action: np.ndarray) -> np.ndarray:
        spec = self.spec
        shape = (self.num,) if spec.num_actions else (self.num, spec.action_dim)
        if action.shape != shape:
            raise ValueError(f"actions have shape {action.shape}, not {shape}")
        if spec.num_actions and not (action.min() >= 0 and action.max() < spec.num_actions):
            raise ValueError(f"the actions {action.min()} to {action.max()} are not among the {spec.num_actions} of {self.name}")
        if not spec.num_actions and not np.isfinite(action).all():
            raise NotFinite("the agent's actions hold NaN or Inf")
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
        self.envs, self.limit, self.actions = envs, envs.world.limit, envs.world.actions

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

    def on_device(self, seed: int, device: str) -> DeviceEnvironments | None:
        """The environments of a run as a function of tensors on `device`; None if they have no such form."""
        return on_device(self.stepped(seed, self.num, self.vector, False, 0, 0), self.world, device)
