"""The residual convolutions of IMPALA (Espeholt et al., 2018), in the form of the i-DQN authors' code (theovincent/i-DQN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from deeprl.learning.networks.convolutions import ImageBlock, same_pads


class ResidualStacks(ImageBlock):
    """n towers of stacks. A stack is a convolution 3x3, a maximum over 3x3 with stride 2, and residual blocks

        x ← x + conv(relu(conv(relu(x)))),     convolutions 3x3/1

    all padded as SAME; ReLU after the last stack; flattened in the order height, width, channel.

    Args:
        n: stack axis.
        shape: (channels, height, width) of an observation.
        channels: of each stack.
        blocks: residual blocks in a stack.
        init: of each stack's first convolution.
        residual_init: of the convolutions inside residual blocks.
        scale: factor of the pixels, folded into the first weights.
    """

    def __init__(
        self,
        n: int,
        shape: Sequence[int],
        channels: Sequence[int],
        *,
        blocks: int,
        init: str,
        residual_init: str,
        scale: float = 1.0,
    ):
        super().__init__(n, shape, scale)
        self.channels, self.blocks = tuple(channels), blocks
        inputs, height, width = shape
        for stack, outputs in enumerate(self.channels):
            first = self.first(stack)
            self.add_convolution(first, inputs, outputs, 3, init)
            for inner in range(1, 2 * blocks + 1):
                self.add_convolution(first + inner, outputs, outputs, 3, residual_init)
            inputs, height, width = outputs, -(-height // 2), -(-width // 2)
        self.features = inputs * height * width

    def first(self, stack: int) -> int:
        """Number of a stack's first convolution."""
        return stack * (2 * self.blocks + 1)

    def single(self, i: int, x: Tensor, layout: torch.memory_format) -> Tensor:
        return self.image(i, x, layout).permute(0, 2, 3, 1).flatten(1)

    def image(self, i: int, x: Tensor, layout: torch.memory_format) -> Tensor:
        """What network i makes of images, before they are flattened: (B, C, H, W) -> (B, C', H', W')."""
        for stack in range(len(self.channels)):
            first = self.first(stack)
            x = halved(self.convolution(first, i, x, layout, padding=(1, 1)))
            for block in range(self.blocks):
                inner = first + 2 * block + 1
                y = self.convolution(inner, i, x.relu(), layout, padding=(1, 1)).relu_()
                x = x + self.convolution(inner + 1, i, y, layout, padding=(1, 1))
        return x.relu()


def halved(x: Tensor) -> Tensor:
    """Maximum over 3x3 with stride 2, padded as SAME: (B, C, H, W) -> (B, C, ⌈H/2⌉, ⌈W/2⌉)."""
    vertical, horizontal = (same_pads(side, 3, 2) for side in x.shape[2:])
    return F.max_pool2d(F.pad(x, (*horizontal, *vertical), value=-torch.inf), 3, 2)
