"""Base of the agents with a `Policy` and no value of actions: PPO and A2C, MAC, agents of whole episodes, and cloning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deeprl.choice import Part
from deeprl.learning.agent import CORE, Agent, Infer
from deeprl.learning.networks.blocks import has_statistics
from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import CommonTorso, TorsoChoice
from deeprl.learning.networks.weight_norm import initialise_with_gains
from deeprl.learning.parts.exploration import certain
from deeprl.learning.transforms.masks import of_row, without_mask
from deeprl.learning.values.masked import only
from deeprl.types import AgentStep, NetworkNoise, Noise, Spec

SMALLEST = 1e-30
"""Probability, or density, below which a float32 would have few digits"""


class PolicyAgent(Agent):
    """What acts by a policy, for discrete or continuous actions. Subclasses build on it and add losses.

    Args:
        core: choice of what remembers between torso and last layers. It has no name here, so that it is a key of those agents alone that
            take one.
        spec, seed: spaces of the environment; seed of the initial weights.
        torso: choice of the policy's features.
        policy: choice that builds the policy.
        rewards, normalize: as in `ValueAgent`.

    Attributes:
        torso: the choice, resolved.

    Raises:
        ValueError: the torso has running averages.
    """

    actions = "any"
    main = "policy"

    def __init__(
        self,
        core: CoreChoice = Memoryless(),
        /,
        *,
        spec: Spec,
        seed: int,
        torso: TorsoChoice,
        policy: PolicyChoice,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
    ):
        super().__init__()
        self.set_border(spec, rewards, normalize)
        seen = without_mask(spec)
        self.torso = torso.resolve(seen)
        self.policy = policy.build(seen, CommonTorso.of(self.torso, seen), core)
        if has_statistics(self.policy.torso):
            raise ValueError(
                f"{type(torso).__name__} has running averages, which only the losses of values and of an actor renew: "
                "choose another agent/torso, such as mlp with agent.torso.layer_norm=true"
            )
        initialise_with_gains(self.policy, seed, "policy", self.torso.weight_norm)

    def evaluated(self, obs: Tensor, *state: Tensor) -> tuple[Any, ...]:
        """Parameters of the policy (M, outputs), and values (M,) or None, of normalised observations; with a core the new state too."""
        return self.policy.outputs(obs), None

    def state_value(self, obs: Tensor, learned: Tensor) -> Tensor | None:
        """V(s) of observations as the environment gives them, (*B, *obs), with the learned value, (*B,), that `evaluated` gives. None: it
        is no return."""
        return learned

    def seen(self, obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Normalised observations, and which actions are valid, (*B, A) bool; None: all."""
        obs, valid = of_row(obs, self.spec)
        return self.normalize(obs), valid

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        """An action of the policy, (M,) int64 or (M, D); if a part reads its probability, (M, 1 + D) with that before it."""
        obs, valid = self.seen(obs)
        if not state:
            return self.sampled(only(self.policy.outputs(obs), valid), noise)
        outputs, _, after = self.evaluated(obs, *state)
        return self.sampled(only(outputs, valid), noise), after

    def sampled(self, outputs: Tensor, noise: NetworkNoise) -> Tensor:
        action = self.policy.sampled(outputs, noise.layers["action"])
        if "behavior_probability" not in self.needs:
            return action
        probability = self.policy.log_prob(outputs, action).exp().clamp(SMALLEST, 1 / SMALLEST)
        return torch.cat([probability[:, None], action.view(len(action), -1).float()], -1)  # one tensor, which crosses to the host once

    @property
    def on_host(self) -> str:  # type: ignore[override]
        if not self.inherits(PolicyAgent, "act", "infer", "sampled", "seen", "act_noise"):
            return "its agent acts by methods of its own"
        return "agent/core remembers" if self.state_size else "env.mask=true" if self.spec.masked else ""

    def device_act(self, obs: Tensor, noise: Noise, rate: Tensor) -> tuple[Tensor, Tensor | None]:
        action = self.infer(obs, noise["network"])
        if "behavior_probability" not in self.needs:
            return action, None
        probability, action = action.split([1, action.shape[1] - 1], -1)
        return action[:, 0].long() if self.spec.num_actions else action, probability[:, 0]

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        state, after, value, probability = self.recalled(memory, first), [], None, certain(obs.shape[0])
        if explore:
            action = (infer or self.infer)(obs, noise["network"], *state)
            action, *after = action if state else (action,)
            if "behavior_probability" in self.needs:
                probability, action = (part.contiguous() for part in action.cpu().split([1, action.shape[1] - 1], -1))
                probability, action = probability[:, 0], action[:, 0].long() if self.spec.num_actions else action
        else:
            rows, valid = self.seen(obs)
            outputs, value, *after = self.evaluated(rows, *state)
            action = self.policy.greedy(only(outputs, valid))
            value = None if value is None else self.state_value(obs, value)
            value = None if value is None else value.cpu()
        memory = {**memory, CORE: after[0]} if after else memory
        return AgentStep(action.cpu(), probability, memory, value, state=state[0] if state else None)

    def greedy(self, obs: Tensor, *state: Tensor) -> Any:
        values = self.greedy_values(obs, *state)
        return (self.policy.greedy(values[0]), values[1]) if state else self.policy.greedy(values)

    def greedy_values(self, obs: Tensor, *state: Tensor) -> Any:
        obs, valid = self.seen(obs)
        if not state:
            return only(self.policy.outputs(obs), valid)
        outputs, _, after = self.evaluated(obs, *state)
        return only(outputs, valid), after

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        drawn = self.policy.noise(size, generator).to(next(self.parameters()).device)  # one copy for many ticks
        return {"network": NetworkNoise({"action": drawn}, {})}
