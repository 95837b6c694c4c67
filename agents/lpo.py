"""LPO: low-switching policy optimisation with online sensitivity sampling (Li, Wang, Cheng, Yang, ICML 2023).

    z = (s, a)       w(z): width of the functions that agree on a core set of pairs, agents/lpo_width.py
    r = r_env + bonus w(z) + known 1{w(z) ≥ threshold}
    a pair of a rollout enters the core set with  p(z) = min(1, C sensitivity(z)),  and is counted 1/p times

If at least one pair of a rollout has entered, the bonus changes, and the policy is learned for `phase` rollouts, with PPO in place of the
paper's natural gradient: a *switch*. Other rollouts are dropped, and the policy stays. The sensitivity of a network is w² divided by a mean
over the core set, of ours, where the paper has the sum. The paper's practical algorithm is not known to us.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.agents.lpo_width import Width
from deeprl.choice import counts, in_range
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.parts.intrinsic import Intrinsic
from deeprl.noise import seed_sequence
from deeprl.types import Batch, Spec


class LPO(Intrinsic):
    """
    Args:
        spec, torso, optimizer, seed: see `Intrinsic`.
        width: builds the functions.
        sensitivity: C; 0: the policy never changes.
        bonus, known: factors of the width and of its indicator; 0 both, with a large C and a phase of 1: PPO, bit for bit.
        threshold: width from which on a pair counts as unknown.
        phase: rollouts that are learned from after a switch, that of the switch first.
    """

    gives = of_one_process = keeps_policy = True
    starts_anew = ("meter",)
    meter: Tensor
    seen: Tensor

    def __init__(
        self,
        *,
        spec: Spec,
        torso: TorsoChoice,
        optimizer: Optimizer,
        seed: int,
        width: Callable[..., Width],
        sensitivity: float = 1.0,
        bonus: float = 0.1,
        known: float = 0.1,
        threshold: float = 0.3,
        phase: int = 5,
    ):
        super().__init__(spec=spec, torso=torso, optimizer=optimizer, seed=seed)
        self.actions, self.seed, self.sensitivity, self.phase = spec.num_actions, seed, sensitivity, phase
        self.bonus, self.known, self.threshold = bonus, known, threshold
        in_range(self, sensitivity=(0, None), bonus=(0, None), known=(0, None), threshold=(0, None))
        counts(self, phase=1)
        if len(spec.obs_shape) != 1:
            raise ValueError(f"widths are of vectors, and the observations have shape {spec.obs_shape}: choose another agent/intrinsic")
        size = spec.obs_shape[0] * spec.num_actions or spec.obs_shape[0] + spec.action_dim
        self.width = width(size=size, torso=torso, seed=seed)
        self.register_buffer("meter", torch.zeros(4, dtype=torch.int64, device="cpu"))
        """Rollouts, switches, pairs that entered the core set, rollouts of the phase that are left"""
        self.register_buffer("seen", torch.zeros(0, size), persistent=False)
        """Pairs of the rollout that is being learned from, (n, F)"""

    def pairs(self, rollout: Batch) -> Tensor:
        """(*B, F): s ⊗ a, one-hot, or s and a side by side."""
        if not self.actions:
            return torch.cat([rollout.obs, rollout.action], -1)
        action = F.one_hot(rollout.action, self.actions).to(rollout.obs.dtype)
        return (rollout.obs.unsqueeze(-1) * action.unsqueeze(-2)).flatten(-2)

    def forward(self, rollout: Batch) -> Tensor:
        pairs = self.pairs(rollout)
        self.seen, width = pairs.flatten(0, -2), self.width(pairs)
        return self.bonus * width + self.known * (width >= self.threshold)

    def before_pass(self, number: int) -> bool:
        if number:
            return True
        rollouts, switches, size, left = self.meter.tolist()
        if not left:
            random = np.random.default_rng(seed_sequence(self.seed, "update", "sensitivity", rollouts))
            share = (self.sensitivity * self.width.sensitivity(self.seen)).clamp(max=1.0).cpu().numpy()
            kept = np.flatnonzero(random.random(len(share)) < share)
            if len(kept):
                self.width.grow(self.seen, kept, 1.0 / share[kept], random)
                switches, size, left = switches + 1, size + len(kept), self.phase
        self.meter.copy_(torch.tensor([rollouts + 1, switches, size, max(left - 1, 0)]))
        return left > 0

    def diagnostics(self) -> dict[str, float]:
        rollouts, switches, size, _ = self.meter.tolist()
        return {"rollout/rollouts": rollouts, "rollout/policy_switches": switches, "train/core_set": size}
