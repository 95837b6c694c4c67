"""One tick of data collection: act, step all environments, append, count episodes."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np
import torch

from deeprl.agent import Agent
from deeprl.noise import NoiseStream
from deeprl.staging import Staging
from deeprl.types import Acted, Rows

WINDOW = 100
"""Episodes over which `rollout/ep_rew_mean` is taken."""


SMALL = 1000
"""Numbers in the observations of all environments, up to which one buffer is reused"""


class Episode(NamedTuple):
    step: int
    reward: float
    """Sum of raw rewards, also if the agent clips them."""
    length: int


class Collector:
    """Collection of data: acting, environment steps, statistics of episodes.

    Args:
        agent: gives the noise of acting, and observes the rows.
        act: gives actions, see `Learner.act`.
        envs: the environment layer; it ends and restarts episodes itself.
        append: where rows go, `Replay.append`.
        seed: of the exploration noise.
        device: where the agent computes.
        observe: called with the rows of each tick; None: `agent.observe`.
    """

    def __init__(self, agent: Agent, act, envs, append, seed: int, device: str = "cpu", block: int = 512, observe=None):
        self.agent, self.act, self.envs, self.append = agent, act, envs, append
        self.observe = agent.observe if observe is None else observe
        self.stage = None if torch.device(device).type == "cpu" else Staging(torch.device(device))
        self.noise = NoiseStream(seed, "explore", "act", lambda ticks, g: agent.act_noise((ticks, envs.num), g), block)
        self.returns = [0.0] * envs.num
        self.lengths = [0] * envs.num
        self.recent: deque[Episode] = deque(maxlen=WINDOW)
        self.finished: list[Episode] = []
        """Episodes since the last log line."""
        self.episodes = 0
        self.memory: dict = {}
        self.obs: np.ndarray | None = None
        self.first: np.ndarray | None = None
        self.chosen: Acted | None = None
        """Actions of the next tick, if they are chosen already"""
        self._seen: tuple[torch.Tensor, np.ndarray] | None = None
        """Reusable buffer for small observations, as a tensor and as an array, so that compiled code gets the same tensor at every tick"""
        if math.prod(agent.spec.obs_shape) * envs.num <= SMALL and self.stage is None:
            seen = torch.zeros((envs.num, *agent.spec.obs_shape), dtype=agent.spec.obs_dtype)
            self._seen = seen, seen.numpy()
        self._first = torch.zeros(0, dtype=torch.bool)
        """`first` as a tensor, made when it changes"""
        self._starting = False
        """Whether some environment is at an episode's start"""
        self._probability = torch.zeros(0), np.zeros(0, np.float32)
        """Probabilities of the last tick, as a tensor and as an array; if no part reads them, every tick has the same tensor"""

    def choose(self, step: int) -> Acted:
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
        self.memory = acted.memory
        return acted

    def tick(self, step: int) -> None:
        """M environment steps, numbered from `step`."""
        acted, self.chosen = self.chosen or self.choose(step), None
        assert self.obs is not None
        action = acted.action.numpy()
        after = self.envs.step(action)
        known, probability = self._probability
        if acted.probability is not known:
            probability = acted.probability.numpy()
            probability.flags.writeable = False  # some agents return the same tensor every time
            self._probability = acted.probability, probability
        rows = Rows(self.obs, action, after.reward, after.next_obs, after.terminated, after.ended, probability)
        self.append(rows)
        self.observe(rows)
        self.obs, self.first = after.obs, after.ended
        self.returns = [sum + reward for sum, reward in zip(self.returns, after.reward.tolist())]
        self.lengths = [length + 1 for length in self.lengths]
        ending = True in after.ended.tolist()
        if ending or self._starting:
            self._first = torch.from_numpy(after.ended)
            self._starting = ending
        if ending:
            self._finish(step, after.ended)

    def _finish(self, step: int, ended: np.ndarray) -> None:
        for i in np.flatnonzero(ended):
            episode = Episode(step + self.envs.num, self.returns[i], self.lengths[i])
            self.recent.append(episode)
            self.finished.append(episode)
            self.episodes += 1
            self.returns[i], self.lengths[i] = 0.0, 0

    def metrics(self) -> dict[str, float]:
        """Statistics of the last episodes, and the number that failures have cut off, if there are any."""
        values = {"rollout/env_restarts": float(self.envs.num_restarts)} if self.envs.num_restarts else {}
        if self.recent:
            values["rollout/ep_rew_mean"] = float(np.mean([e.reward for e in self.recent]))
            values["rollout/ep_len_mean"] = float(np.mean([e.length for e in self.recent]))
        return values

    def state_dict(self) -> dict:
        return {
            "noise": self.noise.state_dict(),
            "returns": np.array(self.returns),
            "lengths": np.array(self.lengths),
            "recent": [list(e) for e in self.recent],
            "finished": [list(e) for e in self.finished],
            "episodes": self.episodes,
            "memory": dict(self.memory),
            "chosen": None if self.chosen is None else {"action": self.chosen.action, "probability": self.chosen.probability},
            "obs": None if self.obs is None else self.obs.copy(),
            "first": None if self.first is None else self.first.copy(),
            "envs": self.envs.state_dict(),
        }

    def load_state_dict(self, state: dict) -> list[int]:
        """Returns the environments whose running episode could not be repeated and was replaced by a new one."""
        self.noise.load_state_dict(state["noise"])
        spec, num = self.agent.spec, self.envs.num
        shapes = {"returns": (num,), "lengths": (num,), "obs": (num, *spec.obs_shape), "first": (num,)}
        for name, shape in shapes.items():
            if state[name] is not None and (state[name].shape != shape or not np.isfinite(state[name]).all()):
                raise ValueError(f"the collector's {name} has shape {state[name].shape}, not {shape}, or is not finite")
        self.returns, self.lengths = state["returns"].tolist(), state["lengths"].tolist()
        recent, self.finished = (
            [Episode(int(step), float(reward), int(length)) for step, reward, length in state[name]] for name in ("recent", "finished")
        )
        self.recent = deque(recent, maxlen=WINDOW)
        self.episodes = int(state["episodes"])
        self.memory, chosen = state["memory"], state.get("chosen")  # older checkpoints lack it
        if chosen is not None:
            action = chosen["action"]
            if action.shape != ((num, spec.action_dim) if spec.action_dim else (num,)) or not torch.isfinite(action).all():
                raise ValueError(f"the collector's chosen actions have shape {tuple(action.shape)}, or are not finite")
            self.chosen = Acted(action, chosen["probability"], self.memory)
        self.obs, self.first = state["obs"], state["first"]
        if self.obs is None:
            return []
        self.envs.load_state_dict(state["envs"])
        broken = list(self.envs.broken)
        for i in broken:
            self.obs[i] = self.envs.obs[i]
            self.first[i] = True
            self.returns[i], self.lengths[i] = 0.0, 0
        self._first, self._starting = torch.from_numpy(self.first), True
        if broken:
            self.chosen = None  # it was chosen for an observation that is gone
        return broken
