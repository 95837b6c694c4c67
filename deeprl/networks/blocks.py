"""Layers with a leading stack axis n (chained iterations x ensemble x seeds).

Linear weights are (n, in, out), biases (n, 1, out); convolution weights (n, out, in, height, width), biases (n, out). Parameters start as
zeros and without `requires_grad`, because `initialise` fills them and `deeprl.training.learner.gradient` sets the flag.

A stack of linear layers is one batched product, because one product per network is slower. `deeprl.accelerate.modes` chooses the memory
layout inside convolutions, which changes rounding only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeprl.networks.layers import SCHEMES, Init, fill_, rescaled, signed_sqrt
from deeprl.noise import torch_generator

REMEDY = (
    "put layers of torch into `Copies(n, make, shape)` of deeprl.networks.copies; a layer of your own derives from `Block` and makes its "
    "parameters by `self.add(name, (n, ...), Init(...))`, see deeprl.networks.blocks"
)
"""For a parameter without the stack axis or without an initial value"""


class Block(nn.Module):
    """Base class of modules that declare an initialiser, `initial[name]`, for each parameter.

    A block whose parameters obey a constraint, such as weights of length 1, has a method `project_()` that restores it in place. The method
    is called by `initialise`, and after every update of the parameters.
    """

    def __init__(self):
        super().__init__()
        self.initial: dict[str, Init] = {}
        self.gained: set[int] = set()
        """Layers with normalised weights, see `deeprl.networks.weight_norm`."""

    def add(self, name: str, shape: tuple[int, ...], init: Init) -> None:
        self.register_parameter(name, nn.Parameter(torch.zeros(shape), requires_grad=False))
        self.initial[name] = init

    def weight(self, layer: int) -> Tensor:
        """`weight_<layer>` in the form that the layer applies, normalised if it has a gain."""
        weight = getattr(self, f"weight_{layer}")
        return rescaled(weight, getattr(self, f"gain_{layer}")) if layer in self.gained else weight

    def layers(self, outputs: bool) -> Sequence[int]:
        """Layers whose weights can be normalised; with `outputs` also the last one of a head.

        Raises:
            ValueError: the block does not support it.
        """
        raise ValueError(f"weight_norm does not work with {type(self).__name__}")


def initialise(module: nn.Module, seed: int, place: str) -> None:
    """Fill every parameter of `module`. The first axis is the stack: entry i of parameter `name` takes the generator (seed, "init",
    "place.name", i).

    So entry 0 of a stack of five equals a stack of one, and another part does not change the rest. Blocks with `project_` are projected,
    and blocks with running statistics have `restart_`, which forgets them.

    Raises:
        ValueError: a parameter has no entry in its owner's `initial`.
    """
    with torch.no_grad():
        for prefix, owner in module.named_modules():
            for name, parameter in owner.named_parameters(recurse=False):
                path = f"{place}.{prefix}.{name}" if prefix else f"{place}.{name}"
                init = getattr(owner, "initial", {}).get(name)
                if init is None:
                    raise ValueError(f"{path}: {type(owner).__name__} declares no initial value for it: {REMEDY}")
                for i, entry in enumerate(parameter):
                    fill_(entry, init, torch_generator(seed, "init", path, i))
            if hasattr(owner, "project_"):
                owner.project_()
            if hasattr(owner, "restart_"):
                owner.restart_()


def learning(torso: Any, x: Tensor, *noise: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Features of a batch in the loss that trains the torso, and new values of the torso's buffers by name.

    A torso with running statistics has a method `learn` for it (`deeprl.networks.batch_renorm`); any other torso computes as usual.
    """
    return torso.learn(x) if hasattr(torso, "learn") else (torso(x, *noise), {})


def stacked(block: nn.Module, features: Tensor) -> Tensor:
    """Apply a block with a stack axis to features with any batch axes: (n, *B, F) -> (n, *B, outputs)."""
    return block(features.flatten(1, -2)).unflatten(1, features.shape[1:-1])


def repeated(x: Tensor, n: int) -> Tensor:
    """Repeat the input for each entry of a stack, (1, B, in) or (n, B, in) -> (n, B, in), in contiguous memory.

    The copy is needed because oneDNN computes the gradient of the weights on a slow path if all entries share their memory. The difference
    is largest for many long rows, as in the implicit quantiles of a chain.
    """
    return x.expand(n, -1, -1).contiguous()


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(n, B, in) -> (n, B, out). A single output is computed as a reduction, because products with one column are slow."""
    if weight.shape[-1] == 1:
        return (x * weight.mT).sum(-1, keepdim=True) + bias
    return torch.baddbmm(bias, x, weight)


def output(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`linear` of a network's last layer: in float32 even where hidden layers multiply in bfloat16 (`deeprl.agent.Agent.products`), which
    would round a return of 300 to a multiple of 2."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return linear(x, weight, bias)
    with torch.autocast(device, enabled=False):
        return linear(x.float(), weight, bias)


ACTIVATIONS = {"relu": Tensor.relu_, "tanh": Tensor.tanh_}
"""In place, because the additions before them do not keep their results for the gradient"""


class MLP(Block):
    """n multilayer perceptrons of one shape, with an activation between layers, after an optional layer normalisation.

    Args:
        n: stack size.
        sizes: input, hidden and output widths; at least two.
        activate_last: the activation after the last layer too, for a torso.
        init, last_init: initialisers from `deeprl.networks.layers`, of all layers, and of the last one if given.
    """

    def __init__(
        self,
        n: int,
        sizes: Sequence[int],
        *,
        activate_last: bool,
        init: str = "torch",
        last_init: str | None = None,
        layer_norm: bool = False,
        activation: str = "relu",
    ):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        if len(sizes) < 2 or min(sizes) < 1 or n < 1:
            raise ValueError(f"an MLP needs a stack of at least one and two widths or more, all positive, not n={n}, sizes={list(sizes)}")
        self.n, self.sizes, self.activate_last, self.layer_norm = n, tuple(sizes), activate_last, bool(layer_norm)
        self.depth, self.features = len(sizes) - 1, sizes[-1]
        for i, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:])):
            scheme = last_init if last_init is not None and i == self.depth - 1 else init
            self.add_linear(str(i), inputs, outputs, scheme)
            if self.layer_norm and self.activated(i):
                self.add(f"norm_scale_{i}", (n, 1, outputs), Init("constant", value=1.0))
                self.add(f"norm_shift_{i}", (n, 1, outputs), Init("constant", value=0.0))

    def add_linear(self, i: str, inputs: int, outputs: int, scheme: str) -> None:
        if scheme not in SCHEMES:
            raise ValueError(f"init must be one of {', '.join(SCHEMES)}, not {scheme!r}")
        self.add(f"weight_{i}", (self.n, inputs, outputs), Init(scheme, inputs, outputs))
        self.add(f"bias_{i}", (self.n, 1, outputs), Init(scheme, inputs, outputs, bias=True))

    def layers(self, outputs: bool) -> Sequence[int]:
        return [i for i in range(self.depth) if outputs or self.activated(i)]

    def activated(self, layer: int) -> bool:
        return self.activate_last or layer < self.depth - 1

    def stacked(self, x: Tensor) -> Tensor:
        """The input for each entry: (B, in), (1, B, in) or (n, B, in) -> (n, B, in)."""
        if x.shape[-1] != self.sizes[0] or not 2 <= x.dim() <= 3 or (x.dim() == 3 and x.shape[0] not in (1, self.n)):
            width = self.sizes[0]
            raise ValueError(f"expected (B, {width}), (1, B, {width}) or ({self.n}, B, {width}), not {tuple(x.shape)}")
        return repeated(x, self.n)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, B, out). A shared input may lack the stack axis, or have one of size one."""
        return self.some(None, x)

    def some(self, entries: slice | None, x: Tensor) -> Tensor:
        """`forward` of some entries of the stack; None: of all."""
        x = self.stacked(x)
        if entries is not None:
            x = x[entries]
        for i in range(self.depth):
            weight = self.weight(i) if entries is None else self.weight(i)[entries]
            x = self.rest(i, self.affine(i)(x, weight, self.of(entries, f"bias_{i}")), entries)
        return x

    def of(self, entries: slice | None, name: str) -> Tensor:
        """A parameter, or some entries of it."""
        parameter = getattr(self, name)
        return parameter if entries is None else parameter[entries]

    def affine(self, i: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Affine map of layer i."""
        return linear if self.activated(i) else output

    def rest(self, i: int, x: Tensor, entries: slice | None = None) -> Tensor:
        """Layer i after its affine map: normalisation and activation."""
        if not self.activated(i):
            return x
        if self.layer_norm:
            x = F.layer_norm(x, x.shape[-1:]) * self.of(entries, f"norm_scale_{i}") + self.of(entries, f"norm_shift_{i}")
        return self.activation(x)


class NoisyMLP(MLP):
    """An MLP whose weights are means plus learned deviations times factorised Gaussian noise (Fortunato et al., 2018).

        w = mu_w + sigma_w * f(e_in) f(e_out)^T,    b = mu_b + sigma_b * f(e_out),    f(x) = sign(x) sqrt|x|

    mu starts as U(-1/sqrt(in), 1/sqrt(in)), sigma at sigma0 / sqrt(in). Without noise (in evaluation) the weights are the means.
    """

    def __init__(self, n: int, sizes: Sequence[int], *, activate_last: bool, sigma0: float = 0.5, layer_norm=False):
        self.sigma0 = sigma0
        super().__init__(n, sizes, activate_last=activate_last, init="torch", layer_norm=layer_norm)

    def add_linear(self, i: str, inputs: int, outputs: int, scheme: str) -> None:
        super().add_linear(i, inputs, outputs, scheme)
        sigma = Init("constant", value=self.sigma0 / math.sqrt(inputs))
        self.add(f"weight_sigma_{i}", (self.n, inputs, outputs), sigma)
        self.add(f"bias_sigma_{i}", (self.n, 1, outputs), sigma)

    def layers(self, outputs: bool) -> Sequence[int]:
        return Block.layers(self, outputs)  # refused, because weights of mean plus noise have no fixed length

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the standard normal numbers for `forward`, by name: in_i (n, in) and out_i (n, out) for each layer i."""
        sides = (("in", self.sizes), ("out", self.sizes[1:]))
        return {f"{side}_{i}": (self.n, widths[i]) for i in range(self.depth) for side, widths in sides}

    def forward(self, x: Tensor, noise: dict[str, Tensor] | None = None) -> Tensor:
        x = self.stacked(x)
        for i in range(self.depth):
            weight, bias = getattr(self, f"weight_{i}"), getattr(self, f"bias_{i}")
            if noise is not None:
                rows, columns = signed_sqrt(noise[f"in_{i}"]).unsqueeze(2), signed_sqrt(noise[f"out_{i}"]).unsqueeze(1)
                weight = weight + getattr(self, f"weight_sigma_{i}") * (rows * columns)
                bias = bias + getattr(self, f"bias_sigma_{i}") * columns
            x = self.rest(i, self.affine(i)(x, weight, bias))
        return x


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
    """Whether images between convolutions are stored channels-last; `deeprl.accelerate.modes.apply` sets this and `patches`"""
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
                x = F.layer_norm(x.permute(0, 2, 3, 1), scale.shape, scale, shift).permute(0, 3, 1, 2)
            x = x.relu_()
        return x.permute(0, 2, 3, 1).flatten(1)
