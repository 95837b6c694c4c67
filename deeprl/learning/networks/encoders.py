"""Encoders of images for continuous agents: one network whose features the actor and all critics read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, counts
from deeprl.learning.networks.blocks import Torso, initialise
from deeprl.learning.networks.mlp import MLP, standard
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.weight_norm import weight_normalise
from deeprl.types import Spec


class Encoder(nn.Module):
    """ψ(s) = tanh(LayerNorm(W torso(s) + b)), (*B, *obs) -> (*B, F), with random shifts while the critics are trained (DrQ: Yarats,
    Kostrikov, Fergus, 2021). Only the critics' loss trains it, and targets read it too, without a slow copy (as in DrQ-v2; 2021).
    In DrQ the actor has a projection of its own, which its own loss trains, and sees shifted images; here it shares the projection.

    Args:
        torso: module of one network, (B, *obs) -> (1, B, features).
        features: F.
        shift: largest shift in pixels, to each side.
    """

    def __init__(self, torso: Torso, features: int, shift: int, obs_dims: int):
        super().__init__()
        self.torso, self.features, self.shift, self.obs_dims = torso, features, shift, obs_dims
        self.projection = MLP(1, (torso.features, features), activate_last=False)

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        """Shifts of the rows and columns of both observations of a transition, (updates, *B, 4) int64 in [0, 2 shift]."""
        if not self.shift:
            return {}
        return {"shift": torch.randint(0, 2 * self.shift + 1, (*size, 4), generator=generator)}

    def forward(self, obs: Tensor, shift: Tensor | None = None) -> Tensor:
        """
        Args:
            shift: (*B, 2) rows and columns; None: the image as it is.
        """
        lead = obs.shape[: obs.dim() - self.obs_dims]
        images = obs.flatten(0, len(lead) - 1)
        if shift is not None:
            images = shifted(images, shift.flatten(0, -2), self.shift)
        projected = self.projection(self.torso(images))[0]
        return standard(projected).tanh().unflatten(0, lead)


def shifted(images: Tensor, offset: Tensor, most: int) -> Tensor:
    """Images moved by `most − offset` pixels; the pixels at the edge are repeated.

    Args:
        images: (B, C, H, W)
        offset: (B, 2) int64 in [0, 2 most], of rows and of columns.
    """
    height, width = images.shape[-2:]

    def source(size: int, offsets: Tensor) -> Tensor:
        places = torch.arange(size, device=images.device) - most + offsets.unsqueeze(1)
        return places.clamp(0, size - 1)  # (B, size)

    rows, columns = source(height, offset[:, 0]), source(width, offset[:, 1])
    moved = images.gather(2, rows[:, None, :, None].expand(-1, images.shape[1], -1, width))
    return moved.gather(3, columns[:, None, None, :].expand(-1, images.shape[1], height, -1))


@dataclass(frozen=True)
class ImageEncoder(Choice):
    """An encoder for images, and none for vectors.

    Args:
        features: number of features, for each image.
        shift: largest random shift, in pixels; 0: none.
    """

    features: int = 50
    shift: int = 4

    def __post_init__(self):
        counts(self, features=1, shift=0)

    def build(self, spec: Spec, torso: TorsoChoice, seed: int) -> Encoder | None:
        """
        Args:
            torso: choice of the layers below. Its `head_hidden` belong to heads and are not used.
        """
        if len(spec.obs_shape) == 1:
            return None
        dims, torso = len(spec.obs_shape), torso.resolve(spec)
        encoder = Encoder(torso.build(spec, 1), self.features, self.shift if dims == 3 else 0, dims)
        initialise(encoder, seed, "encoder")
        weight_normalise(encoder.get_submodule("torso"), torso.weight_norm)
        return encoder
