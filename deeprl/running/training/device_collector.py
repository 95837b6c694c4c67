"""Data collection that stays on the device: acting, a step of a tensor world, the row of a rollout and the returns of episodes are one
function of tensors, which reads no number. The learner may compile it. Numbers are read once for a line of the log.

A call is one tick, because a function of several ticks takes much longer to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.learning.agent import Agent
from deeprl.noise import NoiseStream, map_tensors
from deeprl.replay.rollout import Rollout
from deeprl.replay.source import Source
from deeprl.running.accelerate.modes import precision
from deeprl.running.training.collector import BLOCK, check_seen
from deeprl.running.training.episodes import WINDOW, Episode, Episodes
from deeprl.system.terminal import say

State = dict[str, Any]
"""Tensors on the device, which keep their memory: "envs", "obs", "first", "returns" of the running episodes, "rate" of exploration, and
"fault", whether a number was not finite"""


def on_device(config: dict, env: Any, agent: Agent, source: type[Source], elsewhere: str = "") -> Any:
    """The environments as a function of tensors, if rollouts can be collected without leaving the device; else None. Of a tensor world it
    says why not.

    Args:
        elsewhere: why this process cannot, whatever its parts are.
    """
    if not issubclass(source, Rollout) or not hasattr(env, "on_device"):
        return None
    why = elsewhere or agent.on_host
    if not why and source is not Rollout:
        why = f"{source.__name__} has an append of its own"
    if not why and not agent.observes_tensors:
        why = "a part, such as agent/intrinsic, has statistics of NumPy's rows"
    found = None if why else env.on_device(config["seed"], config["device"])
    if found is None:
        say(f"collect: steps of {env.name} pass through NumPy, because {why or 'actions are combinations of choices'}")
    return found


class DeviceCollector:
    """A `Collector` for tensor worlds and rollouts, with the same rows, episodes and checkpoints.

    Args:
        agent: one without a reason `on_host`.
        compute: `Learner.compute`.
        envs: a `deeprl.envs.vector.on_device.DeviceEnvironments`.
        source: where rows go, `on_device`.
        seed: of the exploration noise.
        products: the precision of updates, which acting has too.
    """

    def __init__(self, agent: Agent, compute: Callable[..., dict[str, Tensor]], envs: Any, source: Rollout, seed: int, products: precision):
        self.agent, self.compute, self.envs, self.source, self.products = agent, compute, envs, source, products
        self.noise = NoiseStream(seed, "explore", "act", self.drawn, BLOCK)
        self.episodes = Episodes(envs.num)
        shape, device = (source.length, envs.num), source.device
        self.own = {
            "return": torch.zeros(shape, dtype=torch.float64, device=device),
            "length": torch.zeros(shape, dtype=torch.int64, device=device),
        }
        """What a row says beside the rollout: return and length (L, M) of its episode so far"""
        self.rows = [{**row, **{name: tensor[tick] for name, tensor in self.own.items()}} for tick, row in enumerate(source.ticks)]
        """Where the ticks of a rollout go, as views"""
        self.ended = torch.zeros(WINDOW + 1, 3, dtype=torch.float64, device=device)
        """Step, return and length of the newest episodes; episode n lies at n mod `WINDOW`, and the last row is of no episode"""
        self.number = torch.zeros((), dtype=torch.int64, device=device)
        """Episodes in `ended` and before"""
        self.counted = 0
        """Ticks of the present rollout whose episodes are in `ended`"""
        self.last = 0
        """Step at which the last tick began"""
        self.state: State | None = None

    def drawn(self, ticks: int, generator: torch.Generator) -> dict[str, Any]:
        """Noise of acting, on the device a block at a time."""
        return map_tensors(lambda tensor: tensor.to(self.source.device), self.agent.act_noise((ticks, self.envs.num), generator))

    # ---- a tick

    def tick(self, step: int) -> None:
        """M environment steps, numbered from `step`."""
        if self.state is None:
            self.state = self.begun()
        self.state["rate"].fill_(self.agent.exploration_rate(step))
        with self.products:
            self.compute(self.advance, self.state, self.noise.next(), self.rows[self.source.filled])
        self.source.written()
        self.last = step
        if self.source.filled == self.source.length:
            self.count()
            self.counted = 0

    def advance(self, state: State, noise: dict[str, Any], row: dict[str, Tensor]) -> dict[str, Tensor]:
        """Act and step all environments: the new state and the row are written in place."""
        action, probability = self.agent.device_act(state["obs"], noise, state["rate"])
        envs, stepped = self.envs.step(state["envs"], action)
        found = {
            "obs": state["obs"], "action": action, "reward": stepped.reward, "next_obs": stepped.next_obs,
            "terminated": stepped.terminated, "ended": stepped.ended, "probability": probability,
            "return": state["returns"] + stepped.reward.double(), "length": state["envs"]["steps"] + 1,
        }  # fmt: skip
        for name, into in row.items():
            if found[name] is not None:
                into.copy_(found[name])
        returns = found["return"].masked_fill(stepped.ended, 0.0)
        after = {"envs": envs, "obs": stepped.obs, "first": stepped.ended, "returns": returns, "fault": state["fault"] | stepped.fault}
        write_(state, after)
        return {}

    def begun(self) -> State:
        """The state of `envs` and `episodes`."""
        envs, device = self.envs.start(), self.source.device
        obs, returns = torch.from_numpy(self.envs.host.obs), torch.tensor(self.episodes.returns, dtype=torch.float64)
        none = torch.zeros((), dtype=torch.bool, device=device)
        first = torch.ones(self.envs.num, dtype=torch.bool, device=device)
        rate = torch.zeros((), dtype=torch.float64, device=device)
        self.counted = self.source.filled
        self.number.fill_(self.episodes.number)
        copies = {"obs": obs.to(device, copy=True), "returns": returns.to(device)}
        return {"envs": envs, "first": first, "rate": rate, "fault": none, **copies}

    # ---- episodes

    def count(self) -> None:
        """Put the episodes of the newest ticks into `ended`."""
        since, until, num, device = self.counted, self.source.filled, self.envs.num, self.source.device
        if since == until:
            return
        self.counted = until
        ended = self.source.stored["ended"][since:until].flatten()
        order = ended.cumsum(0) + self.number  # each episode's number, from 1
        newest = ended & (order > order[-1] - WINDOW)
        steps = torch.arange(self.last - num * (until - since - 2), self.last + num + 1, num, device=device, dtype=torch.float64)
        columns = [steps.repeat_interleave(num), *(self.own[name][since:until].flatten().double() for name in ("return", "length"))]
        self.ended.index_copy_(0, torch.where(newest, order % WINDOW, WINDOW), torch.stack(columns, 1))
        self.number.copy_(order[-1])
        if device.type == "cpu":
            self.envs.require_finite(self.state["fault"].item())  # type: ignore[index]

    def read(self) -> None:
        """Bring `episodes` up to date, by one copy from the device.

        Raises:
            EnvironmentFailed: a number of an environment was not finite.
        """
        if self.state is None:
            return
        self.count()
        number, fault, *entries = torch.cat(
            [torch.stack([self.number.double(), self.state["fault"].double()]), self.ended.flatten()]
        ).tolist()
        self.envs.require_finite(fault)
        newest = int(number)
        for each in range(max(self.episodes.number, newest - WINDOW) + 1, newest + 1):
            step, total, length = entries[3 * (each % WINDOW) : 3 * (each % WINDOW) + 3]
            self.episodes.end(Episode(int(step), total, int(length)))
        self.episodes.number = newest

    def metrics(self) -> dict[str, float]:
        """See `Collector.metrics`."""
        self.read()
        return self.episodes.metrics()

    # ---- checkpoints: those of a `Collector`

    def state_dict(self) -> dict[str, Any]:
        self.read()
        state, envs = self.state, self.envs
        if state is not None:
            envs.store(state["envs"], state["obs"])
            self.episodes.returns, self.episodes.lengths = state["returns"].tolist(), envs.host.steps.tolist()
        return {
            "noise": self.noise.state_dict(),
            **self.episodes.state_dict(),
            "memory": {},
            "chosen": None,
            "obs": None if state is None else envs.host.obs.copy(),
            "first": None if state is None else state["first"].cpu().numpy(),
            "envs": envs.host.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """Returns no environments: the state of all of them can be continued."""
        self.noise.load_state_dict(state["noise"])
        check_seen(state, self.agent.spec, self.envs.num)
        self.episodes.load_state_dict(state)
        if state["obs"] is not None:
            self.envs.host.load_state_dict(state["envs"])
            self.state = self.begun()
            self.state["first"].copy_(torch.from_numpy(np.array(state["first"])))
        return []


def write_(into: State, values: State) -> None:
    """Copy nested tensors into others, where there are new values."""
    for name, value in values.items():
        if isinstance(value, dict):
            write_(into[name], value)
        else:
            into[name].copy_(value)
