"""Transforms of rewards. The replay applies them before it takes n-step sums; statistics come from collected data only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Part, bounds_above_zero, in_range, of_rewards, of_tensors
from deeprl.learning.transforms.moments import merge_, move_
from deeprl.types import Rows, Series


class Raw(Part):
    """Rewards as they are."""

    def __init__(self):
        super().__init__()

    def forward(self, reward: Tensor) -> Tensor:
        return reward


class Clip(Raw):
    """Rewards cut off at ± bound (1 in Mnih et al., 2015); None leaves rewards as they are."""

    def __init__(self, *, bound: float | None = 1.0):
        super().__init__()
        self.bound = bound
        bounds_above_zero(self, "bound")

    def forward(self, reward: Tensor) -> Tensor:
        return reward if self.bound is None else reward.clamp(-self.bound, self.bound)


class Scaled(Raw):
    """Rewards divided by the standard deviation of the discounted sum of past rewards (the rule of OpenAI Baselines' VecNormalize). As long
    as all sums were equal, they have no deviation, and rewards stay as they are.

    Args:
        discount: γ of the discounted sum; a configuration value, `${discount}`.
        bound: largest magnitude that the discounted sums may have after the division (SimbaV2, FlashSAC): rewards are divided by at least
            the largest sum so far over `bound`. None: there is no bound.
        clip: largest magnitude of a reward after the division, 10 in VecNormalize; None: it is not cut off. Rollouts are scaled by rewards
            seen before them, so that the first large rewards may be far above 1.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor
    largest: Tensor
    scale: Tensor
    sums: Tensor

    def __init__(self, *, discount: float, epsilon: float = 1e-8, bound: float | None = None, clip: float | None = None):
        super().__init__()
        self.discount, self.epsilon, self.bound, self.clip = discount, epsilon, bound, clip
        in_range(self, discount=(0, 1), epsilon=(0, None))
        bounds_above_zero(self, "bound", "clip")
        for name in ("count", "mean", "m2", "largest"):  # on the CPU for every device, because rows are observed there; `sums` too
            self.register_buffer(name, torch.zeros((), dtype=torch.float64, device="cpu"))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("sums", torch.zeros(0, dtype=torch.float64, device="cpu"))

    def forward(self, reward: Tensor) -> Tensor:
        scaled = reward * self.scale.to(reward.device)
        return scaled if self.clip is None else scaled.clamp(-self.clip, self.clip)

    def unit(self) -> Tensor:
        """(): what a raw reward of 1 is for the agent. Transforms without this method scale nothing."""
        return self.scale

    @of_rewards
    @of_tensors
    def observe(self, rows: Rows) -> None:
        reward: Any = rows.reward
        if isinstance(reward, Tensor):
            self._observe_tensors(reward, rows.ended)  # type: ignore[arg-type]  # tensors both
            return
        if isinstance(rows, Series):
            self._observe_series(rows)
            return
        sums = self.sums.numpy() if self.sums.numel() else np.zeros(len(rows.reward))
        sums = sums * self.discount + rows.reward
        self._take(sums)
        self.sums = torch.from_numpy(np.where(rows.ended, 0.0, sums))

    def _take(self, sums: np.ndarray) -> None:
        merge_(self.count, self.mean, self.m2, sums)
        self.largest.fill_(max(float(self.largest), float(np.abs(sums).max())))
        if self.m2 > 0:
            deviation = math.sqrt(float(self.m2) / float(self.count) + self.epsilon)
            self.scale.fill_(1.0 / (deviation if self.bound is None else max(deviation, float(self.largest) / self.bound)))

    def _observe_series(self, rows: Series) -> None:
        running, sums = sum(self.sums.tolist()), []  # that of the series before, if it goes on
        for reward, ended in zip(rows.reward.tolist(), rows.ended.tolist()):
            running = running * self.discount + reward
            sums.append(running)
            running = 0.0 if ended else running
        self._take(np.array(sums))
        self.sums = torch.tensor([] if ended else [running], dtype=torch.float64)  # none of an environment of the run

    def _observe_tensors(self, reward: Tensor, ended: Tensor) -> None:
        move_(self, reward.device, "count", "mean", "m2", "largest", "sums")
        sums = (self.sums if self.sums.numel() else torch.zeros_like(reward, dtype=torch.float64)) * self.discount + reward
        merge_(self.count, self.mean, self.m2, sums)
        self.largest.copy_(torch.maximum(self.largest, sums.abs().max()))
        deviation = (self.m2 / self.count + self.epsilon).sqrt()
        bounded = deviation if self.bound is None else torch.maximum(deviation, self.largest / self.bound)
        self.scale.copy_(torch.where(self.m2 > 0, 1.0 / bounded, self.scale))
        self.sums = sums.masked_fill(ended, 0.0)

    def truncate_episode(self, environment: int) -> None:
        if self.sums.numel():
            self.sums[environment] = 0.0

    def _load_from_state_dict(self, state, prefix, *rest):
        self.sums = torch.zeros_like(state[prefix + "sums"])  # its length is the number of environments, which the first `observe` sets
        super()._load_from_state_dict(state, prefix, *rest)
