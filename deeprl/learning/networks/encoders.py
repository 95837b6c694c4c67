"""Encoders of images for continuous agents: one network whose features the actor and all critics read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, counts
from deeprl.learning.networks.blocks import Torso, initialise
from deeprl.learning.networks.mlp import MLP, standard
from deeprl.learning.networks.side_by_side import columns, of_part
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.weight_norm import weight_normalise
from deeprl.packing import width_of
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

    def encoded(self, spec: Spec) -> Spec:
        """Spaces after it."""
        return spec._replace(obs_shape=(self.features,), obs_dtype=torch.float32)

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


class PartsEncoder(nn.Module):
    """Features of each image beside the other parts as they are, (*B, entries) -> (*B, F). All images of an observation are shifted alike,
    because what they show may belong together.

    Args:
        encoders: of the images, by the number of their part.
        spec: as networks see them, see `deeprl.packing`.
    """

    def __init__(self, encoders: dict[str, Encoder], spec: Spec):
        super().__init__()
        self.encoders, self.parts = nn.ModuleDict(encoders), spec.parts
        shapes = [(encoders[str(i)].features,) if str(i) in encoders else part.shape for i, part in enumerate(spec.parts)]
        vectors = [part._replace(shape=shape, dtype=torch.float32, image=False) for part, shape in zip(spec.parts, shapes)]
        self.encoded_parts = tuple(vectors)
        self.features = width_of(self.encoded_parts)

    def encoded(self, spec: Spec) -> Spec:
        """Spaces after it."""
        return spec._replace(obs_shape=(self.features,), obs_dtype=torch.float32, parts=self.encoded_parts)

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        return next(iter(self.encoders.values())).noise(size, generator)  # type: ignore[operator]  # each has the same shift

    def forward(self, obs: Tensor, shift: Tensor | None = None) -> Tensor:
        found = [
            self.encoders[str(i)](part, shift) if str(i) in self.encoders else part.flatten(obs.dim() - 1)
            for i, part in enumerate(columns(obs, self.parts))
        ]
        return torch.cat(found, -1)


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

    def build(self, spec: Spec, torso: TorsoChoice, seed: int) -> Encoder | PartsEncoder | None:
        """
        Args:
            torso: choice of the layers below. Its `head_hidden` belong to heads and are not used.
        """
        found: Encoder | PartsEncoder
        if any(part.image for part in spec.parts):
            each = {str(i): self.of_image(of_part(spec, part), torso) for i, part in enumerate(spec.parts) if part.image}
            found = PartsEncoder(each, spec)
        elif len(spec.obs_shape) == 1:
            return None
        else:
            found = self.of_image(spec, torso)
        initialise(found, seed, "encoder")
        for module in found.modules():
            if isinstance(module, Encoder):
                weight_normalise(module.get_submodule("torso"), torso.weight_norm)
        return found

    def of_image(self, spec: Spec, torso: TorsoChoice) -> Encoder:
        """The encoder where an image is the observation."""
        dims = len(spec.obs_shape)
        return Encoder(torso.resolve(spec).build(spec, 1), self.features, self.shift if dims == 3 else 0, dims)
