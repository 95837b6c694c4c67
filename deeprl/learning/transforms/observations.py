"""Transforms of observations. Statistics come from collected data only, never from evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Part, in_range, numbers, of_tensors
from deeprl.learning.transforms.masks import OBSERVATIONS
from deeprl.learning.transforms.moments import merge_, move_
from deeprl.types import Batch, Rows, Spec


class Plain(Part):
    """Observations as they are."""

    def __init__(self, *, spec: Spec):
        super().__init__()

    def forward(self, obs: Tensor) -> Tensor:
        return obs


class Scale(Plain):
    """Observations divided by fixed numbers, so that every component has a size of about one.

    Dopamine scales classic control in this way, because CartPole's angle, at most 0.21, matters more than its velocities, which reach 3.

    Args:
        by: one positive number for each component of a vector; None leaves observations as they are.
    """

    factor: Tensor

    def __init__(self, *, spec: Spec, by: Sequence[float] | None = None):
        super().__init__(spec=spec)
        self.by = by
        if by is not None:
            if len(spec.obs_shape) != 1:
                raise ValueError(f"by must be null, not {by!r}, because observations of shape {spec.obs_shape} are no vectors")
            if min(numbers(self, "by", spec.obs_shape[0])) <= 0:
                raise ValueError(f"by must be positive numbers, one for each component, not {by!r}")
            self.register_buffer("factor", 1.0 / torch.tensor(self.by, dtype=torch.float32), persistent=False)  # of the configuration

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest) -> None:
        state.pop(f"{prefix}factor", None)  # older checkpoints hold it
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, obs: Tensor) -> Tensor:
        return obs if self.by is None else obs * self.factor


class Running(Part):
    """(obs − mean) / std with the statistics of all collected data, cut off at ± clip.

    The replay keeps raw observations, so that the present statistics apply to old ones too.
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
        # on the CPU for every device, because rows are observed there
        self.register_buffer("count", torch.zeros((), dtype=torch.float64, device="cpu"))
        self.register_buffer("mean", torch.zeros(spec.obs_shape, dtype=torch.float64, device="cpu"))
        self.register_buffer("m2", torch.zeros(spec.obs_shape, dtype=torch.float64, device="cpu"))
        self.register_buffer("shift", torch.zeros(spec.obs_shape))
        self.register_buffer("scale", torch.ones(spec.obs_shape))

    def forward(self, obs: Tensor) -> Tensor:
        return ((obs - self.shift) * self.scale).clamp(-self.clip, self.clip)

    @of_tensors
    def observe(self, rows: Rows) -> None:
        obs: np.ndarray | Tensor = rows.obs
        if isinstance(obs, Tensor):
            move_(self, obs.device, "count", "mean", "m2")
        merge_(self.count, self.mean, self.m2, obs)
        self.shift.copy_(self.mean)
        if isinstance(obs, Tensor):
            self.scale.copy_(torch.where(self.count > 1, (self.m2 / self.count + self.epsilon).rsqrt(), self.scale))
        elif self.count > 1:
            self.scale.copy_((self.m2 / self.count + self.epsilon).rsqrt())


def normalized(batch: Batch, normalize: Part) -> Batch:
    """A batch whose observations are normalized, those of `extra` too."""
    extra = {name: normalize(value) if name in OBSERVATIONS else value for name, value in batch.extra.items()}
    return batch._replace(obs=normalize(batch.obs), next_obs=normalize(batch.next_obs), extra=extra)
