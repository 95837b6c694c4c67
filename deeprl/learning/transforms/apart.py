"""Observations of several parts at the border of an agent: rows of `deeprl.packing` in, the vector that networks see out.

Numbers are normalised by the agent's choice; pixels stay as they are, because torsos scale them, and so do one-hot vectors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.choice import Part
from deeprl.learning.transforms.masks import without_mask
from deeprl.packing import divide, join, numbers_in, numbers_of
from deeprl.types import ObsPart, Rows, Spec


def refuse_privileged(spec: Spec) -> None:
    """
    Raises:
        ValueError: some parts are for critics alone, and an agent that acts by its values would see them.
    """
    if any(part.privileged for part in spec.parts):
        raise ValueError("env.privileged needs an agent with critics, such as agent=ppo: this one acts by its values, which would see it")


class Apart(Part):
    """
    Args:
        numbers: normalises the numbers of all parts, (*B, n).
    """

    scaled: Tensor | None

    def __init__(self, numbers: Part, parts: tuple[ObsPart, ...]):
        super().__init__()
        self.numbers, self.parts = numbers, parts
        scaled = [part.scaled and not part.image for part in parts if part.dtype == torch.float32 for _ in range(part.size)]
        self.register_buffer("scaled", None if all(scaled) else torch.tensor(scaled), persistent=False)

    def forward(self, obs: Tensor) -> Tensor:
        numbers, pixels = divide(self.parts, obs)
        normal = self.numbers(numbers)
        if self.scaled is not None:
            normal = torch.where(self.scaled, normal, numbers)
        return join(self.parts, normal, pixels) if pixels.shape[-1] else normal


class Observed(Apart):
    """The same with statistics of collected data."""

    def observe(self, rows: Rows) -> None:
        self.numbers.observe(rows._replace(obs=numbers_in(self.parts, rows.obs)))


def normalizer(normalize: Callable[..., Part], spec: Spec) -> Part:
    """What maps observations of an environment to the networks' input."""
    if not spec.parts:
        return normalize(spec=without_mask(spec))
    inner = normalize(spec=spec._replace(obs_shape=(numbers_of(spec.parts),), obs_dtype=torch.float32, masked=False, parts=()))
    return (Apart if type(inner).observe is Part.observe else Observed)(inner, spec.parts)
