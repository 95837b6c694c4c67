"""Torsos, from observations to features: choices whose `build(spec, n)` gives a module (B, *obs) -> (n, B, features).

The module has the attribute `features`. Every parameter has the stack axis n first, no `requires_grad`, and an entry in `initial` (see
`deeprl.learning.networks.blocks.Block`). Plain layers of torch have neither the axis nor the entry:
`deeprl.learning.networks.copies.Copies` adds both. The module draws no random numbers, and it scales uint8 pixels itself.

`head_hidden` are the widths of the hidden layers between torso and last layer. They belong to the head, because i-QN's chain shares the
convolutions only. `weight_norm` applies to torso and head, see `deeprl.learning.networks.weight_norm`. `resolve(spec)` returns a concrete
choice: the choice itself, except for `Auto`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, in_range, one_of
from deeprl.learning.networks.blocks import Torso, has_dropout, has_statistics
from deeprl.learning.networks.convolutions import ConvStack
from deeprl.learning.networks.dropout import DropoutMLP
from deeprl.learning.networks.layers import SCHEMES
from deeprl.learning.networks.mlp import ACTIVATIONS, MLP, repeated
from deeprl.learning.networks.residual import ResidualStacks
from deeprl.learning.networks.side_by_side import Common, SideBySide, common_spec, of_part
from deeprl.learning.networks.weight_norm import OPTIONS
from deeprl.types import SMALL_IMAGE, Spec


def widths(owner: object, *names: str) -> None:
    """Check fields with layer widths, and store YAML's lists as tuples of positive integers."""
    for name in names:
        value = getattr(owner, name)
        value = list(value) if isinstance(value, tuple) else value
        if not isinstance(value, list) or any(not isinstance(width, int) or width < 1 for width in value):
            raise ValueError(f"{name} must be a list of positive integers, such as [64, 64], not {value!r}")
        object.__setattr__(owner, name, tuple(value))


class Flatten(nn.Module):
    """The torso without layers: (B, *obs) -> (n, B, features), n copies as floats."""

    def __init__(self, features: int, n: int):
        super().__init__()
        self.features, self.n = features, n

    def forward(self, obs: Tensor) -> Tensor:
        return repeated(obs.to(torch.float32).reshape(1, obs.shape[0], self.features), self.n)


class FlatMLP(MLP):
    """An MLP over observations other than float vectors."""

    def forward(self, obs: Tensor) -> Tensor:
        return super().forward(obs.to(torch.float32).flatten(1))


class TorsoChoice(Choice):
    """Choice of a torso, whose contract is the docstring of this file."""

    head_hidden: tuple[int, ...] = ()
    init: str = "torch"
    weight_norm: str = "none"

    def resolve(self, spec: Spec) -> TorsoChoice:
        return self

    def build(self, spec: Spec, n: int) -> Torso:
        raise NotImplementedError


@dataclass(frozen=True)
class MLPTorso(TorsoChoice):
    """An MLP. Vectors are used as they are; images are flattened without scaling. `hidden=()` is the identity.

    `dropout` is the rate of dropout after each layer, in predictions and targets of value networks; an actor refuses it.
    """

    hidden: tuple[int, ...] = (256, 256)
    init: str = "torch"
    layer_norm: bool = False
    dropout: float = 0.0
    activation: str = "relu"
    head_hidden: tuple[int, ...] = ()
    weight_norm: str = "none"

    def __post_init__(self):
        widths(self, "hidden", "head_hidden")
        one_of(self, init=SCHEMES, weight_norm=OPTIONS, activation=tuple(ACTIVATIONS))
        in_range(self, dropout=(0, 0.99))

    def build(self, spec: Spec, n: int) -> Torso:
        inputs = math.prod(spec.obs_shape)
        if not self.hidden:
            return Flatten(inputs, n)
        plain = len(spec.obs_shape) == 1 and spec.obs_dtype == torch.float32
        fields: dict[str, Any] = {"activate_last": True, "init": self.init, "layer_norm": self.layer_norm, "activation": self.activation}
        sizes = (inputs, *self.hidden)
        if self.dropout:
            if not plain:
                raise ValueError(f"torso.dropout takes vectors, not observations of shape {tuple(spec.obs_shape)}: set it to 0")
            return DropoutMLP(n, sizes, dropout=self.dropout, **fields)
        return (MLP if plain else FlatMLP)(n, sizes, **fields)


@dataclass(frozen=True)
class PartsTorso(TorsoChoice):
    """The torso of observations with an image among other parts, see `SideBySide`. It is no option: `resolve` of the others gives it."""

    image: TorsoChoice
    """Torso of each image; of `Auto`, what follows from that image alone"""
    head_hidden: tuple[int, ...]
    init: str
    weight_norm: str

    @classmethod
    def where(cls, image: TorsoChoice, spec: Spec) -> TorsoChoice:
        """A torso of images, for these spaces."""
        return cls(image, image.head_hidden, image.init, image.weight_norm) if any(part.image for part in spec.parts) else image

    def resolve(self, spec: Spec) -> TorsoChoice:
        """For some of the parts. If none is an image, a torso that was chosen for images leaves them to the hidden layers of the head, and
        `Auto` gives that of vectors."""
        found = self.image.resolve(spec)
        return self if found is self.image else found

    def build(self, spec: Spec, n: int) -> Torso:
        torsos = {str(i): self.image.build(of_part(spec, part), n) for i, part in enumerate(spec.parts) if part.image}
        return SideBySide(torsos, spec.parts, n)


@dataclass(frozen=True)
class CommonTorso(TorsoChoice):
    """The torso of a network that gets privileged parts and sees none of them. It is no option: `of` makes it of another one."""

    whole: TorsoChoice
    head_hidden: tuple[int, ...]
    init: str
    weight_norm: str

    @classmethod
    def of(cls, whole: TorsoChoice, spec: Spec) -> TorsoChoice:
        """A torso without what is privileged in these spaces: that which follows from the other parts."""
        whole = whole.resolve(common_spec(spec)) if spec.parts else whole
        return cls(whole, whole.head_hidden, whole.init, whole.weight_norm) if any(part.privileged for part in spec.parts) else whole

    def build(self, spec: Spec, n: int) -> Torso:
        """
        Raises:
            ValueError: the torso has batch statistics or dropout.
        """
        seen = common_spec(spec)
        torso = self.whole.build(seen, n)
        if has_statistics(torso) or has_dropout(torso):
            raise ValueError(f"env.privileged must be [] with the policy's torso {type(self.whole).__name__}: choose mlp without dropout")
        return Common(torso, seen.obs_shape[0])


class ImageChoice(TorsoChoice):
    scale: float
    """Factor of uint8 pixels"""

    def resolve(self, spec: Spec) -> TorsoChoice:
        return PartsTorso.where(self, spec)

    def image(self, spec: Spec) -> tuple[int, ...]:
        if len(spec.obs_shape) != 3:
            name = type(self).__name__
            raise ValueError(f"agent/torso={name} needs images (channels, height, width), not {spec.obs_shape}: choose agent/torso=mlp")
        return spec.obs_shape

    def factor(self, spec: Spec) -> float:
        """Factor of the pixels: `scale` belongs to uint8, and images of floats are used as they are."""
        return self.scale if spec.obs_dtype == torch.uint8 else 1.0


def convolutions(choice: Nature | MinAtarTorso, spec: Spec, n: int, layers: tuple[tuple[int, int, int], ...]) -> ConvStack:
    shape, norm = choice.image(spec), choice.layer_norm
    return ConvStack(n, shape, layers, padding=choice.padding, init=choice.init, scale=choice.factor(spec), layer_norm=norm)


@dataclass(frozen=True)
class Nature(ImageChoice):
    """The convolutions of Mnih et al. (2015): 32@8x8/4, 64@4x4/2, 64@3x3/1.

    Padding "same" is the network of Dopamine and i-QN (7744 features on 84x84), "valid" that of the paper (3136).
    """

    padding: str = "same"
    head_hidden: tuple[int, ...] = (512,)
    init: str = "glorot_uniform"
    scale: float = 1 / 255
    layer_norm: bool = False
    """Layer normalisation over the channels of each pixel, before each ReLU"""
    weight_norm: str = "none"

    def __post_init__(self):
        widths(self, "head_hidden")
        one_of(self, padding=("same", "valid"), init=SCHEMES, weight_norm=OPTIONS)
        in_range(self, scale=(0, None))

    def build(self, spec: Spec, n: int) -> Torso:
        layers = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
        return convolutions(self, spec, n, layers)


@dataclass(frozen=True)
class MinAtarTorso(ImageChoice):
    """One convolution 3x3/1 over binary planes (Young and Tian, 2019): 16 channels, VALID, 1024 features on 10x10."""

    channels: int = 16
    padding: str = "valid"
    head_hidden: tuple[int, ...] = (128,)
    init: str = "torch"
    scale: float = 1.0
    layer_norm: bool = False
    """Layer normalisation over the channels of each pixel, before the ReLU"""
    weight_norm: str = "none"

    def __post_init__(self):
        widths(self, "head_hidden")
        one_of(self, padding=("same", "valid"), init=SCHEMES, weight_norm=OPTIONS)
        in_range(self, channels=(1, None), scale=(0, None))

    def build(self, spec: Spec, n: int) -> Torso:
        return convolutions(self, spec, n, ((self.channels, 3, 1),))


@dataclass(frozen=True)
class Impala(ImageChoice):
    """The large residual network of Espeholt et al. (2018), with the i-DQN authors' initialisers: 3872 features on 84x84.

    The i-DQN authors set channels and layers on the command line; 16-32-32 and 256 are the IMPALA paper's (code of its authors).
    """

    channels: tuple[int, ...] = (16, 32, 32)
    blocks: int = 2
    """Residual blocks in each stack"""
    head_hidden: tuple[int, ...] = (256,)
    init: str = "glorot_uniform"
    residual_init: str = "lecun_normal"
    """Initialiser of the convolutions inside residual blocks"""
    scale: float = 1 / 255
    weight_norm: str = "none"

    def __post_init__(self):
        widths(self, "channels", "head_hidden")
        one_of(self, init=SCHEMES, residual_init=SCHEMES, weight_norm=OPTIONS)
        in_range(self, blocks=(0, None), scale=(0, None))
        if not self.channels:
            raise ValueError("channels must name at least one stack")

    def build(self, spec: Spec, n: int) -> Torso:
        inits = {"init": self.init, "residual_init": self.residual_init}
        return ResidualStacks(n, self.image(spec), self.channels, blocks=self.blocks, scale=self.factor(spec), **inits)


@dataclass(frozen=True)
class Auto(TorsoChoice):
    """The torso that follows from the observations: `MLPTorso` for vectors, `MinAtarTorso` for images up to 24x24, whose pixels it does not
    scale, `Nature` for larger ones. Of several images each has its own, and the largest has the layers after them."""

    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers of the MLP"""
    layer_norm: bool = False
    """Layer normalisation before each activation; that of a head is a key of the head"""
    init: str = "auto"
    """Initialiser of all layers; auto: that of the torso which follows"""
    activation: str = "relu"
    """Of the MLP"""
    weight_norm: str = "none"

    def __post_init__(self):
        widths(self, "hidden")
        one_of(self, weight_norm=OPTIONS, init=("auto", *SCHEMES), activation=tuple(ACTIVATIONS))

    def resolve(self, spec: Spec) -> TorsoChoice:
        """
        Raises:
            ValueError: no torso follows from the shape.
        """
        if images := [of_part(spec, part) for part in spec.parts if part.image]:
            largest = self.resolve(max(images, key=lambda image: max(image.obs_shape[1:])))
            return PartsTorso(self, largest.head_hidden, largest.init, largest.weight_norm)
        shape = tuple(spec.obs_shape)
        common: dict[str, Any] = {"layer_norm": self.layer_norm, "weight_norm": self.weight_norm}
        common |= {} if self.init == "auto" else {"init": self.init}
        if len(shape) == 1:
            return MLPTorso(hidden=self.hidden, activation=self.activation, **common)
        if len(shape) == 3 and max(shape[1:]) > SMALL_IMAGE:
            return Nature(**common)
        if len(shape) == 3 and min(shape[1:]) >= 3:
            return MinAtarTorso(**common)
        raise ValueError(f"no torso follows from observations of shape {shape}: choose one, agent/torso=mlp, nature, impala or minatar")

    def build(self, spec: Spec, n: int) -> Torso:
        return self.resolve(spec).build(spec, n)
