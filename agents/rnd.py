"""Random network distillation (Burda, Edwards, Storkey, Klimov, Exploration by Random Network Distillation, ICLR 2019).

    r_int = coefficient · mean_i (f_i(s') − g_i(s'))² / σ,     g: a fixed random network,  f: fitted to it on what was seen

Vectors are standardised by their moments in all earlier rollouts, the first rollout not at all, and cut off at ± 5; images are taken as
they are. σ is the running deviation of the discounted sums of errors, which do not stop at ends of episodes. We differ from the authors in
two things. σ is taken of the errors after the updates on a rollout, those of each tick by the moments up to the tick before; theirs is of
the errors before the updates, which are larger, so that our bonuses are larger than theirs with one coefficient. And they have a value for
each of the two rewards; here one value has their sum, and ends where an episode does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from deeprl.choice import counts, in_range
from deeprl.learning.networks.actors import OutputNetwork
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.weight_norm import initialise_with_gains
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.parts.intrinsic import Intrinsic
from deeprl.learning.transforms.observations import Plain, Running
from deeprl.learning.transforms.rewards import Scaled
from deeprl.types import Batch, Rows, Spec, Term


class RND(Intrinsic):
    """
    Args:
        spec, torso, optimizer, seed: see `Intrinsic`. Both networks have the agent's choice of torso.
        discount: γ of the sums that scale the errors; a configuration value, `${discount}`.
        coefficient: factor of the reward; 0 leaves the agent unchanged, bit for bit.
        features: outputs of f and g.
        lr: learning rate of f; None: that of the agent.

    Raises:
        ValueError: the discount is 1.
    """

    gives = True

    def __init__(
        self,
        *,
        spec: Spec,
        torso: TorsoChoice,
        optimizer: Optimizer,
        seed: int,
        discount: float,
        coefficient: float = 0.5,
        features: int = 64,
        lr: float | None = None,
    ):
        super().__init__(spec=spec, torso=torso, optimizer=optimizer, seed=seed)
        self.coefficient, self.features, self.lr = coefficient, features, lr
        in_range(self, coefficient=(0, None))
        counts(self, features=1)
        if lr is not None:
            in_range(self, lr=(0, None))
        self.optimizer = optimizer if lr is None else replace(optimizer, lr=lr)
        self.normalize = Running(spec=spec, clip=5.0) if len(spec.obs_shape) == 1 else Plain(spec=spec)
        if discount == 1.0 and coefficient:
            raise ValueError(
                "discount must be below 1, because the sum of errors that scales the reward never starts anew, and would grow until "
                "nothing is new: agent.intrinsic.discount=0.99"
            )
        self.scaled = Scaled(discount=discount)
        self.random, self.fitted = (OutputNetwork(spec, torso, features, None, unit=False) for _ in range(2))
        for place in ("random", "fitted"):
            initialise_with_gains(self.get_submodule(place), seed, f"intrinsic.{place}", torso.weight_norm)

    def error(self, obs: Tensor) -> Tensor:
        """Mean over the outputs, (*B, *obs) -> (*B,)."""
        obs = self.normalize(obs)
        with torch.no_grad():
            known = self.random.outputs(obs)
        return (self.fitted.outputs(obs) - known).square().mean(-1)

    def forward(self, rollout: Batch) -> Tensor:
        return self.coefficient * self.scaled(self.error(rollout.next_obs))

    def trained(self) -> tuple[list[nn.Parameter], Optimizer]:
        return list(self.fitted.parameters()), self.optimizer

    def loss(self, batch: Batch) -> Term:
        loss = self.error(batch.next_obs).mean()
        return Term(loss, {"train/intrinsic_loss": loss, "train/intrinsic_reward": self.coefficient * loss * self.scaled.scale})

    def observe(self, rows: Rows) -> None:
        with torch.no_grad():
            error = self.error(torch.from_numpy(np.ascontiguousarray(rows.next_obs)).to(self.scaled.scale.device)).cpu().numpy()
        self.normalize.observe(rows)
        self.scaled.observe(rows._replace(reward=error, ended=np.zeros_like(rows.ended)))
