"""The temperature of a maximum-entropy policy: the weight α of its entropy."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from deeprl.choice import Part, in_range, one_of
from deeprl.learning.optim.flat import Optimizer, Trained
from deeprl.learning.values.returns import Returns


def required(log_prob: Tensor | None) -> Tensor:
    """log π of a policy with a density; `deeprl.running.config.combinations` refuses a temperature for any other."""
    assert log_prob is not None, "a temperature needs a policy with a density"
    return log_prob


class Temperature(Part):
    """α of the objective E[Σ γᵗ (r + α H(π))]. This base class is neutral: it adds no entropy.

    Args:
        action_dim: D.
    """

    def __init__(self, *, action_dim: int):
        super().__init__()

    def add_entropy(self, future: Returns, log_prob: Tensor | None) -> Returns:
        """Z(s', a') − α log π(a'|s'), for `log_prob` (*B,)."""
        return future

    def entropy_cost(self, log_prob: Tensor | None) -> Tensor | float:
        """α log π(a|s) in the actor's loss, (*B,)."""
        return 0.0

    def groups(self, optimizer: Optimizer) -> Trained:
        """Parameters that are trained beside the actor, each group with its optimizer.

        Args:
            optimizer: that of the actor, without weight decay.
        """
        return []

    def loss(self, log_prob: Tensor | None) -> Tensor | float:
        """Loss of the temperature's own parameters, (*B,), for log π of the actor's present actions."""
        return 0.0

    def metrics(self, log_prob: Tensor | None) -> dict[str, Tensor]:
        return {}

    def reset(self) -> None:
        """Start anew, with the networks."""


class FixedTemperature(Temperature):
    """A constant α (SAC of 2018: Haarnoja, Zhou, Abbeel, Levine).

    Args:
        value: α, in units of the learned rewards.
    """

    needs = frozenset({"density", "signed"})

    shown: Tensor

    def __init__(self, *, action_dim: int, value: float = 0.2):
        super().__init__(action_dim=action_dim)
        self.value = value
        in_range(self, value=(0, None))
        self.register_buffer("shown", torch.tensor(float(value)), persistent=False)  # on the agent's device, for the log

    def forward(self) -> Tensor | float:
        """α, without gradient: a number, or (1,) where it is learned."""
        return self.value

    def add_entropy(self, future: Returns, log_prob: Tensor | None) -> Returns:
        return future.plus((-self() * required(log_prob)).unsqueeze(0))

    def entropy_cost(self, log_prob: Tensor | None) -> Tensor | float:
        return self() * required(log_prob)

    def metrics(self, log_prob: Tensor | None) -> dict[str, Tensor]:
        value = self()
        return {"train/entropy": -required(log_prob), "train/ent_coef": value if isinstance(value, Tensor) else self.shown}


class LearnedTemperature(FixedTemperature):
    """α that holds the entropy of the policy at a target (SAC v2: Haarnoja and others, 2018).

        L_α = − mean(log α · (log π(a|s) + H̄)),      H̄ = target_entropy · D

    It is updated with the actor, from the same actions: both read the α and the actions of before the update.

    Args:
        value: initial α.
        target_entropy: H̄ per action dimension, in nats, for actions in [-1, 1]; −1 in SAC, −½ in BRO and SimBa. Uniform actions have log 2,
            the most there is.
        lr: learning rate of log α; None: the actor's.
        form: `log`, the loss above (softlearning), or `exp`, α in place of log α in it (pytorch_sac, CleanRL).
    """

    def __init__(self, *, action_dim: int, value: float = 1.0, target_entropy: float = -1.0, lr: float | None = None, form: str = "log"):
        super().__init__(action_dim=action_dim, value=value)
        if value <= 0:
            raise ValueError(f"value must be above 0, because its logarithm is learned, not {value}")
        self.target_entropy, self.lr, self.form = target_entropy, lr, form
        in_range(self, target_entropy=(None, math.log(2)), **({} if lr is None else {"lr": (0, None)}))
        one_of(self, form=("log", "exp"))
        self.target = target_entropy * action_dim
        self.log_value = nn.Parameter(torch.tensor([float(value)]).log(), requires_grad=False)

    def forward(self) -> Tensor:
        return self.log_value.detach().exp()

    def reset(self) -> None:
        self.log_value.fill_(math.log(self.value))

    def groups(self, optimizer: Optimizer) -> Trained:
        return [([self.log_value], optimizer if self.lr is None else replace(optimizer, lr=self.lr))]

    def loss(self, log_prob: Tensor | None) -> Tensor | float:
        factor = self.log_value if self.form == "log" else self.log_value.exp()
        return -factor * (required(log_prob).detach() + self.target)
