"""Convolutional networks with a leading stack axis n. Weights are (n, out, in, height, width), biases (n, out).

`deeprl.running.accelerate.modes` chooses the memory layout inside convolutions, which changes rounding only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.learning.networks.blocks import Block
from deeprl.learning.networks.layers import SCHEMES, Init


def same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding of TensorFlow's SAME along one axis: ceil(size / stride) outputs, an odd zero after the image. PyTorch's "same" refuses
    strides."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def patchwise(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    """A convolution as one product of all patches, for small images that need no gradient: (B, C, H, W) -> (B, out, H', W')."""
    kernel = weight.shape[-1]
    vertical, horizontal = padding
    x = F.pad(x, (horizontal, horizontal, vertical, vertical))
    patches = x.unfold(2, kernel, stride).unfold(3, kernel, stride).permute(0, 2, 3, 1, 4, 5)  # (B, H', W', C, k, k)
    return (patches.flatten(3) @ weight.flatten(1).t() + bias).permute(0, 3, 1, 2)


class ImageBlock(Block):
    """n convolutional networks over one batch of images. Subclasses define one of them, `single`, and set `features`.

    Args:
        n: stack size.
        shape: (channels, height, width) of an observation.
        scale: factor of the pixels, folded into the first weights.
    """

    features: int
    channels_last = False
    """Whether images between convolutions are stored channels-last; `deeprl.running.accelerate.modes.apply` sets this and `patches`"""
    plain = False
    """Whether `apply` leaves it as it is, because it is evaluated within `torch.func.vmap`, which knows no channels-last"""
    patches = False
    """Whether the first convolution is computed by `patchwise`"""

    def __init__(self, n: int, shape: Sequence[int], scale: float):
        super().__init__()
        self.n, self.shape, self.scale, self.depth = n, tuple(shape), float(scale), 0

    def add_convolution(self, layer: int, inputs: int, outputs: int, kernel: int, init: str) -> None:
        if init not in SCHEMES:
            raise ValueError(f"init must be one of {', '.join(SCHEMES)}, not {init!r}")
        area = kernel * kernel
        self.add(f"weight_{layer}", (self.n, outputs, inputs, kernel, kernel), Init(init, inputs * area, outputs * area))
        self.add(f"bias_{layer}", (self.n, outputs), Init(init, inputs * area, outputs * area, bias=True))
        self.depth = layer + 1

    def layers(self, outputs: bool) -> Sequence[int]:
        return range(self.depth)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), bytes or floats -> (n, B, features)"""
        if x.dim() != 4 or tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"expected (B, {', '.join(map(str, self.shape))}), not {tuple(x.shape)}")
        # channels-last, because oneDNN's convolutions are faster with it; converted once for all n, in two calls, because one is slower
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        x = x.to(torch.float32).contiguous(memory_format=layout)
        features = [self.single(i, x, layout) for i in range(self.n)]
        return torch.stack(features) if self.n > 1 else features[0].unsqueeze(0)

    def single(self, i: int, x: Tensor, layout: torch.memory_format) -> Tensor:
        """Network i: (B, C, H, W) -> (B, features)."""
        raise NotImplementedError

    def convolution(
        self, layer: int, i: int, x: Tensor, layout: torch.memory_format, stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> Tensor:
        weight, bias = self.weight(layer)[i], getattr(self, f"bias_{layer}")[i]
        if layer == 0 and self.scale != 1.0:
            weight = weight * self.scale
        if layer == 0 and self.patches:
            return patchwise(x, weight, bias, stride, padding)
        return F.conv2d(x, weight.contiguous(memory_format=layout), bias, stride, padding)


class ConvStack(ImageBlock):
    """n stacks of convolutions, with ReLU after each, after an optional layer normalisation over the channels of each pixel. The result is
    flattened in the order height, width, channel, as in TensorFlow and JAX; this needs no copy if the memory is channels-last.

    Args:
        n: stack size.
        shape: (channels, height, width) of an observation.
        layers: (channels, kernel, stride) of each convolution.
        padding: "same" or "valid".
        scale: factor of the pixels, folded into the first weights.
    """

    def __init__(
        self,
        n: int,
        shape: Sequence[int],
        layers: Sequence[tuple[int, int, int]],
        *,
        padding: str,
        init: str,
        scale: float = 1.0,
        layer_norm: bool = False,
    ):
        super().__init__(n, shape, scale)
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be same or valid, not {padding!r}")
        channels, height, width = shape
        self.layer_norm, self.strides, self.pads = layer_norm, [], []
        for i, (outputs, kernel, stride) in enumerate(layers):
            vertical, horizontal = (same_pads(side, kernel, stride) if padding == "same" else (0, 0) for side in (height, width))
            height, width = ((side + sum(pad) - kernel) // stride + 1 for side, pad in ((height, vertical), (width, horizontal)))
            if height < 1 or width < 1:
                raise ValueError(f"an image of {tuple(shape)} is too small for convolution {i} ({kernel}x{kernel}, stride {stride})")
            self.add_convolution(i, channels, outputs, kernel, init)
            if layer_norm:
                self.add(f"norm_scale_{i}", (n, outputs), Init("constant", value=1.0))
                self.add(f"norm_shift_{i}", (n, outputs), Init("constant", value=0.0))
            self.strides.append(stride)
            self.pads.append((*horizontal, *vertical))  # F.pad names the last axis first
            channels = outputs
        self.features = channels * height * width

    def single(self, i: int, x: Tensor, layout: torch.memory_format) -> Tensor:
        for layer, (stride, pad) in enumerate(zip(self.strides, self.pads)):
            left, right, top, bottom = pad
            if (left, top) != (right, bottom):
                x, left, top = F.pad(x, pad), 0, 0
            x = self.convolution(layer, i, x, layout, stride, (top, left))
            if self.layer_norm:
                scale, shift = getattr(self, f"norm_scale_{layer}")[i], getattr(self, f"norm_shift_{layer}")[i]
                x = F.layer_norm(x.permute(0, 2, 3, 1).float(), scale.shape, scale, shift).permute(0, 3, 1, 2)
            x = x.relu_()
        return x.permute(0, 2, 3, 1).flatten(1)
