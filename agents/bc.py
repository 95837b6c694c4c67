"""Behaviour cloning (Pomerleau, 1991): a policy of the largest likelihood on the actions of the data.

    L = − mean log π(a|s)        discrete actions: cross-entropy; continuous ones: a Gaussian whose deviation is the same in every state

With a deviation held fixed the Gaussian's loss is the squared error, up to factor and constant; a learned one changes the size of the steps
alone. Rewards are not read, no value is learned. The squared error itself, of a policy bounded by tanh, is
`agent=td3_bc agent.improvement.alpha=0`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from deeprl.choice import Part
from deeprl.learning.agent import Agent, Infer, watching
from deeprl.learning.networks.blocks import has_statistics, initialise
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.weight_norm import weight_normalise
from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.parts.exploration import certain
from deeprl.learning.values.losses import average, over_valid
from deeprl.types import AgentStep, Batch, NetworkNoise, Noise, Spec, Term


class Cloning(Agent):
    """Agent for discrete or continuous actions: a policy, and no value.

    Args:
        spec, seed: spaces of the environment; seed of the initial weights.
        torso: choice of the policy's features.
        policy: choice that builds the policy.
        rewards, normalize: as in `ValueAgent`.
        optimizer: of all weights.

    Raises:
        ValueError: the environment has action masks, or the torso has running averages.
    """

    actions = "any"
    main = "policy"
    rewards: Part

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        torso: TorsoChoice,
        policy: PolicyChoice,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        optimizer: Optimizer,
    ):
        super().__init__()
        if spec.masked:
            raise ValueError("this agent does not know action masks: env.mask=false, or an agent of values such as agent=dqn")
        self.spec, torso = spec, torso.resolve(spec)
        self.rewards, self.normalize = rewards(), normalize(spec=spec)
        self.policy = policy.build(spec, torso)
        if has_statistics(self.policy.torso):
            raise ValueError(f"{type(torso).__name__} has running averages, which this loss does not renew: choose another agent/torso")
        initialise(self.policy, seed, "policy")
        weight_normalise(self.policy, torso.weight_norm)
        parameters = list(self.policy.parameters())
        self.objectives = {"policy": Objective(self.loss, parameters, optimizer.build(parameters))}
        self.observers = watching(self.normalize, self.rewards)

    def loss(self, batch: Batch) -> Term:
        """L; the error is −log π(a|s)."""
        outputs = self.policy.outputs(self.normalize(batch.obs))
        loss = -self.policy.log_prob(outputs, batch.action)
        metrics = {"train/policy_loss": over_valid(loss.unsqueeze(0), batch.valid), "train/entropy": self.policy.entropy(outputs)}
        return Term(average((batch.weight * loss).unsqueeze(0), batch.valid).sum(), metrics, error=loss.abs())

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        """An action of the policy, (M,) int64 or (M, D)"""
        return self.policy.sampled(self.policy.outputs(self.normalize(obs)), noise.layers["action"])

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        action = (infer or self.infer)(obs, noise["network"]) if explore else self.greedy(obs)
        return AgentStep(action.cpu(), certain(obs.shape[0]), memory)

    def greedy(self, obs: Tensor, *state: Tensor) -> Any:
        return self.policy.greedy(self.greedy_values(obs))

    def greedy_values(self, obs: Tensor, *state: Tensor) -> Any:
        return self.policy.outputs(self.normalize(obs))

    def noise(self, size: tuple[int, ...], generator) -> Noise:
        return {}

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        drawn = self.policy.noise(size, generator).to(next(self.parameters()).device)  # one copy for many ticks
        return {"network": NetworkNoise({"action": drawn}, {})}
