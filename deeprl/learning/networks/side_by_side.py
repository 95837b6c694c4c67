"""Modules over the vector of an observation of several parts, see `deeprl.packing`; `deeprl.learning.networks.torsos` has their choices."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deeprl.learning.networks.blocks import Torso
from deeprl.learning.networks.mlp import repeated
from deeprl.packing import common, width_of
from deeprl.types import ObsPart, Spec


def of_part(spec: Spec, part: ObsPart) -> Spec:
    """Spaces in which this part is the observation."""
    return spec._replace(obs_shape=part.shape, obs_dtype=part.dtype, parts=())


def common_spec(spec: Spec) -> Spec:
    """Spaces of a network that sees no privileged part."""
    parts = common(spec.parts)
    return spec._replace(obs_shape=(width_of(parts),), parts=parts)


def columns(obs: Tensor, parts: tuple[ObsPart, ...]) -> tuple[Tensor, ...]:
    """(..., entries) -> each part, (..., *shape)."""
    return tuple(each.unflatten(-1, part.shape) for each, part in zip(obs.split([part.size for part in parts], -1), parts))


class SideBySide(nn.Module):
    """Images through a torso each, other parts as they are, in the order of the parts: (B, entries) -> (n, B, features).

    Args:
        torsos: of the images, by the number of their part; not by its name, because a name may hold a dot.
    """

    def __init__(self, torsos: Mapping[str, Torso], parts: tuple[ObsPart, ...], n: int):
        super().__init__()
        self.torsos, self.parts, self.n = nn.ModuleDict(torsos), parts, n  # type: ignore[arg-type]  # torsos are modules
        self.features = sum(torsos[str(i)].features if str(i) in torsos else part.size for i, part in enumerate(parts))

    def forward(self, obs: Tensor) -> Tensor:
        found = [
            self.torsos[str(i)](part) if str(i) in self.torsos else repeated(part.flatten(1).unsqueeze(0), self.n)
            for i, part in enumerate(columns(obs, self.parts))
        ]
        return torch.cat(found, -1)


class Common(nn.Module):
    """A torso that sees the first columns alone, (B, entries) -> (n, B, features)."""

    def __init__(self, torso: Torso, seen: int):
        super().__init__()
        self.torso, self.seen, self.features = torso, seen, torso.features

    def forward(self, obs: Tensor) -> Tensor:
        return self.torso(obs[..., : self.seen])
