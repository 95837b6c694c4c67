"""One tick of data collection: act, step all environments, append, count episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.noise import NoiseStream
from deeprl.running.training.episodes import Episodes
from deeprl.system.staging import Staging
from deeprl.types import AgentStep, Rows, Spec

SMALL_OBSERVATIONS = 1000
"""Numbers in the observations of all environments, up to which one buffer is reused"""
BLOCK = 512
"""Ticks whose random numbers are drawn at once. Another value gives other numbers."""

Cut = Callable[[np.ndarray, Sequence[int]], list[int]]
"""(M,) bool, where episodes ended, and environments that were restarted -> environments whose episodes end now"""


class Collector:
    """Collection of data: acting, environment steps, statistics of episodes.

    Args:
        agent: gives the noise of acting.
        act: gives actions, see `Learner.act`.
        envs: the environment layer, `deeprl.envs.vector.environments.Environments`; it ends and restarts episodes itself.
        append: where rows go, `Source.append`.
        seed: of the exploration noise.
        device: where the agent computes.
        cut: `Source.cut` of a source that ends episodes.
    """

    def __init__(self, agent: Agent, act, envs, append, seed: int, device: str = "cpu", cut: Cut | None = None):
        self.agent, self.act, self.envs, self.append, self.cut = agent, act, envs, append, cut
        self.stage = None if torch.device(device).type == "cpu" else Staging(torch.device(device))
        part = f"act {envs.first}" if envs.first else "act"  # each of several collectors has noise of its own
        self.noise = NoiseStream(seed, "explore", part, lambda ticks, g: agent.act_noise((ticks, envs.num), g), BLOCK)
        self.episodes = Episodes(envs.num)
        self.memory: dict = {}
        self.obs: np.ndarray | None = None
        self.first: np.ndarray | None = None
        self.info: Sequence[Mapping[str, float]] = ()
        """(M,) numbers of the episodes that the last tick ended"""
        self.chosen: AgentStep | None = None
        """Actions of the next tick, if they are chosen already"""
        self.before: dict = {}
        """The memory that they were chosen with"""
        self._seen: tuple[torch.Tensor, np.ndarray] | None = None
        """Reusable buffer for small observations, as a tensor and as an array, so that compiled code gets the same tensor at every tick"""
        if math.prod(agent.spec.obs_shape) * envs.num <= SMALL_OBSERVATIONS and self.stage is None:
            seen = torch.zeros((envs.num, *agent.spec.obs_shape), dtype=agent.spec.obs_dtype)
            self._seen = seen, seen.numpy()
        self._first = torch.zeros(0, dtype=torch.bool)
        """`first` as a tensor, made when it changes"""
        self._starting = False
        """Whether some environment is at an episode's start"""
        self._looked = False
        """Whether the form of the memory is known"""
        self._probability = torch.zeros(0), np.zeros(0, np.float32)
        """Probabilities of the last tick, as a tensor and as an array; if no part reads them, every tick has the same tensor"""
        self._stateless = np.zeros((envs.num, 0), np.float32)
        """`Rows.state` without a core"""

    def choose(self, step: int) -> AgentStep:
        """Actions of the tick at `step`, with the present weights. The tick takes them, even if the weights have changed since."""
        if self.obs is None:
            self.obs = self.envs.reset()
            self.first = np.ones(self.envs.num, dtype=bool)
            self._first, self._starting = torch.from_numpy(self.first), True
        if self._seen is None:
            obs = torch.from_numpy(self.obs)
            if self.stage is not None:
                (obs,) = self.stage([obs])
        else:
            obs, seen = self._seen
            seen[...] = self.obs
        self.chosen = acted = self.act(obs, self._first, self.memory, step, self.noise.next())
        self.before, self.memory = self.memory, acted.memory
        if not self._looked:  # at the first tick, because what has another form is told by no run, but by the resume of its checkpoint
            self._looked = True
            try:
                check_memory(self.memory, self.envs.num)
            except ValueError as error:
                raise ConfigError(f"agent.explore: {error}") from error
        return acted

    def tick(self, step: int) -> None:
        """M environment steps, numbered from `step`."""
        acted, self.chosen = self.chosen or self.choose(step), None
        assert self.obs is not None
        action = acted.action.numpy()
        after = self.envs.step(action)
        if self.cut is not None and (which := self.cut(after.ended, self.envs.restarted)):
            after = self.envs.truncate_episodes(after, which)
        known, probability = self._probability
        if acted.probability is not known:
            probability = acted.probability.numpy()
            probability.flags.writeable = False  # some agents return the same tensor every time
            self._probability = acted.probability, probability
        state = self._stateless if acted.state is None else acted.state.cpu().numpy()
        rows = Rows(self.obs, action, after.reward, after.next_obs, after.terminated, after.ended, probability, state)
        self.append(rows)
        self.obs, self.first = after.obs, after.ended
        self.info = after.info
        ending = self.episodes.add(step, after.reward, after.ended, self.info)
        if ending or self._starting:
            self._first = torch.from_numpy(after.ended)
            self._starting = ending

    def metrics(self) -> dict[str, float]:
        """Statistics of the last episodes, the number that failures have cut off, and workers that were made again, if there are any."""
        counts = {"rollout/env_restarts": self.envs.num_restarts, "time/env_workers_replaced": self.envs.num_recreated}
        return {**{name: float(count) for name, count in counts.items() if count}, **self.episodes.metrics()}

    def state_dict(self) -> dict:
        return {
            "noise": self.noise.state_dict(),
            **self.episodes.state_dict(),
            "memory": dict(self.memory),
            "chosen": None if self.chosen is None else kept(self.chosen),
            "before": {} if self.chosen is None else dict(self.before),
            "obs": None if self.obs is None else self.obs.copy(),
            "first": None if self.first is None else self.first.copy(),
            "envs": self.envs.state_dict(),
        }

    def load_state_dict(self, state: dict) -> list[int]:
        """Returns the environments whose running episode could not be repeated and was replaced by a new one."""
        self.noise.load_state_dict(state["noise"])
        spec, num = self.agent.spec, self.envs.num
        check_seen(state, spec, num)
        self.episodes.load_state_dict(state)
        check_memory(state["memory"], num)
        self.memory, chosen = state["memory"], state["chosen"]
        if chosen is not None:
            action = chosen["action"]
            if action.shape != ((num, spec.action_dim) if spec.action_dim else (num,)) or not torch.isfinite(action).all():
                raise ValueError(f"the collector's chosen actions have shape {tuple(action.shape)}, or are not finite")
            self.chosen = AgentStep(action, chosen["probability"], self.memory, state=chosen.get("state"))
            self.before = state.get("before", self.memory)  # older checkpoints lack it
            check_memory(self.before, num)
        self.obs, self.first = state["obs"], state["first"]
        if self.obs is None:
            return []
        self.envs.load_state_dict(state["envs"])
        broken = list(self.envs.broken)
        for i in broken:
            self.obs[i] = self.envs.obs[i]
            self.first[i] = True
            self.episodes.drop(i)
        self._first, self._starting = torch.from_numpy(self.first), True
        if broken and self.chosen is not None:  # it was chosen for an observation that is gone, and is chosen again
            self.chosen, self.memory = None, self.before
        return broken


def check_seen(state: dict, spec: Spec, num: int) -> None:
    """
    Raises:
        ValueError: what a collector saw last has another shape, or is not finite.
    """
    for name, shape in {"obs": (num, *spec.obs_shape), "first": (num,)}.items():
        if state[name] is not None and (state[name].shape != shape or not np.isfinite(state[name]).all()):
            raise ValueError(f"the collector's {name} has shape {state[name].shape}, not {shape}, or is not finite")


def kept(chosen: AgentStep) -> dict[str, torch.Tensor]:
    """What a checkpoint holds of actions that are chosen already, beside the memory."""
    found = {"action": chosen.action, "probability": chosen.probability, "state": chosen.state}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def check_memory(memory: dict, num: int) -> None:
    """
    Raises:
        ValueError: the acting memory does not hold a tensor (num, ...) without NaN under every name.
    """
    for name, value in memory.items():
        if isinstance(value, dict):
            check_memory(value, num)
        elif not isinstance(value, torch.Tensor) or value.shape[:1] != (num,) or (value.device.type == "cpu" and value.isnan().any()):
            form = f"of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"as {type(value).__name__}"
            raise ValueError(f"the memory holds {name} {form}, where a tensor ({num}, ...) without NaN belongs")
