"""Running normalisation of observations, and transforms of rewards. Statistics come from collected data only, never from evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Part, in_range
from deeprl.types import Rows, Spec


class Moments:
    """Mean and variance of a stream, merged batch by batch (Chan, Golub, LeVeque, 1979), in float64."""

    @staticmethod
    def merge(count: float, mean: np.ndarray, m2: np.ndarray, batch: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """`batch` (n, ...); `m2` is the sum of squared deviations."""
        batch = batch.astype(np.float64)
        n = batch.shape[0]
        delta = batch.mean(0) - mean
        total = count + n
        return total, mean + delta * (n / total), m2 + ((batch - batch.mean(0)) ** 2).sum(0) + delta**2 * (count * n / total)


class Plain(Part):
    """Observations as they are."""

    def __init__(self, *, spec: Spec):
        super().__init__()

    def forward(self, obs: Tensor) -> Tensor:
        return obs


class Scale(Plain):
    """Observations divided by fixed numbers, so that every component is about as large as one.

    Dopamine rescales classic control in this way: CartPole's angle, at most 0.21, says more than its velocities, which reach 3.

    Args:
        by: one positive number for each component of a vector; None leaves observations as they are.
    """

    factor: Tensor

    def __init__(self, *, spec: Spec, by: Sequence[float] | None = None):
        super().__init__(spec=spec)
        self.by = None if by is None else tuple(float(number) for number in by)
        if self.by is not None:
            if len(spec.obs_shape) != 1 or len(self.by) != spec.obs_shape[0] or min(self.by) <= 0:
                raise ValueError(f"by must be {spec.obs_shape} positive numbers, one for each component, not {list(self.by)}")
            self.register_buffer("factor", 1.0 / torch.tensor(self.by))

    def forward(self, obs: Tensor) -> Tensor:
        return obs if self.by is None else obs * self.factor


class Running(Part):
    """(obs − mean) / std of everything collected so far, cut off at ± clip.

    The replay keeps raw observations, so that old ones are seen through today's statistics.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, *, spec: Spec, clip: float = 10.0, epsilon: float = 1e-8):
        super().__init__()
        self.clip, self.epsilon = clip, epsilon
        in_range(self, clip=(1e-6, None), epsilon=(0, None))
        if len(spec.obs_shape) != 1:
            raise ValueError(
                f"running normalisation takes vectors, and the observations have shape {spec.obs_shape}: use agent/normalize=none"
            )
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(spec.obs_shape, dtype=torch.float64))
        self.register_buffer("m2", torch.zeros(spec.obs_shape, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(spec.obs_shape))
        self.register_buffer("scale", torch.ones(spec.obs_shape))

    def forward(self, obs: Tensor) -> Tensor:
        return ((obs - self.shift) * self.scale).clamp(-self.clip, self.clip)

    def observe(self, rows: Rows) -> None:
        count, mean, m2 = Moments.merge(float(self.count), self.mean.cpu().numpy(), self.m2.cpu().numpy(), rows.obs)
        self.count.fill_(count)
        self.mean.copy_(torch.from_numpy(mean))
        self.m2.copy_(torch.from_numpy(m2))
        self.shift.copy_(self.mean)
        self.scale.copy_((self.m2 / self.count + self.epsilon).rsqrt() if count > 1 else torch.ones_like(self.scale))


class Raw(Part):
    """Rewards as they are."""

    def __init__(self):
        super().__init__()

    def forward(self, reward: Tensor) -> Tensor:
        return reward


class Clip(Raw):
    """Rewards cut off at ± bound (Mnih et al., 2015: 1); None leaves them as they are."""

    def __init__(self, *, bound: float | None = 1.0):
        super().__init__()
        self.bound = bound
        if bound is not None:
            in_range(self, bound=(0, None))

    def forward(self, reward: Tensor) -> Tensor:
        return reward if self.bound is None else reward.clamp(-self.bound, self.bound)


class Scaled(Raw):
    """Rewards divided by the standard deviation of the discounted sum of past rewards (the rule of OpenAI Baselines' VecNormalize).

    Args:
        discount: of that sum; a configuration value, `${discount}`.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor
    scale: Tensor
    sums: Tensor

    def __init__(self, *, discount: float, epsilon: float = 1e-8):
        super().__init__()
        self.decay, self.epsilon = discount, epsilon
        in_range(self, decay=(0, 1), epsilon=(0, None))
        for name in ("count", "mean", "m2"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("sums", torch.zeros(0, dtype=torch.float64))

    def forward(self, reward: Tensor) -> Tensor:
        return reward * self.scale.to(reward.device)

    def observe(self, rows: Rows) -> None:
        sums = self.sums.cpu().numpy() if self.sums.numel() else np.zeros(len(rows.reward))
        sums = sums * self.decay + rows.reward
        count, mean, m2 = Moments.merge(float(self.count), self.mean.cpu().numpy(), self.m2.cpu().numpy(), sums)
        self.count.fill_(count)
        self.mean.copy_(torch.as_tensor(mean))
        self.m2.copy_(torch.as_tensor(m2))
        if count > 1:
            self.scale.fill_(float(1.0 / np.sqrt(m2 / count + self.epsilon)))
        self.sums = torch.from_numpy(np.where(rows.ended, 0.0, sums))

    def _load_from_state_dict(self, state, prefix, *rest):
        self.sums = torch.zeros_like(state[prefix + "sums"])  # its length is the number of environments, known only from use
        super()._load_from_state_dict(state, prefix, *rest)
