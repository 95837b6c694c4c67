"""Fast forms: a whole stack of MLPs as one autograd node.

Autograd then sees one operation per network instead of three per layer, activations are overwritten by their ReLU, and nothing is computed that
nobody asked for: a frozen network gets no weight gradients, a first layer no input gradient. First derivatives only. `torch.func` and
`torch.compile` want the plain form. Batched products throughout: on oneDNN they beat a loop over the stack (`python -m benchmarks.product`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def forward(x: Tensor, activate_last: bool, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Input (n or 1, B, in) and parameters (weight, bias, weight, bias, ...) -> the output of every layer, the last one last."""
    outputs = []
    last = len(parameters) - 2
    for i in range(0, len(parameters), 2):
        weight, bias = parameters[i], parameters[i + 1]
        if weight.shape[2] == 1:
            x = torch.mul(x, weight.mT).sum(-1, keepdim=True).add_(bias)
        else:
            x = torch.baddbmm(bias, x if x.shape[0] == weight.shape[0] else x.expand(weight.shape[0], -1, -1), weight)
        if activate_last or i < last:
            x = x.relu_()
        outputs.append(x)
    return outputs


class MLPNode(torch.autograd.Function):
    """x (n or 1, B, in) -> (n, B, out)"""

    @staticmethod
    def forward(ctx, x: Tensor, activate_last: bool, *parameters: Tensor) -> Tensor:
        outputs = forward(x, activate_last, parameters)
        ctx.activate_last, ctx.depth = activate_last, len(outputs)
        # save_for_backward, not an attribute: it raises if an optimizer moved the weights in between.
        ctx.save_for_backward(x, *parameters[::2], *outputs)
        return outputs[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        depth, saved = ctx.depth, ctx.saved_tensors
        inputs, weights, outputs = (saved[0], *saved[1 + depth : -1]), saved[1 : 1 + depth], saved[1 + depth :]
        want_x, _, *want = ctx.needs_input_grad
        first = 0 if want_x else next(i for i, wanted in enumerate(want) if wanted) // 2
        found: list[Tensor | None] = [None] * (2 * depth)
        g = gradient.contiguous()                                   # (n, B, out): an expanded one, from a mean, is slow in the products
        for i in range(depth - 1, first - 1, -1):
            x, weight = inputs[i], weights[i]
            if ctx.activate_last or i < depth - 1:
                g = torch.ops.aten.threshold_backward(g, outputs[i], 0)
            scalar = weight.shape[2] == 1
            if want[2 * i]:
                rows = x if x.shape[0] == g.shape[0] else x.expand(g.shape[0], -1, -1)
                found[2 * i] = torch.mul(rows, g).sum(1).unsqueeze_(2) if scalar else torch.bmm(rows.mT, g)
            if want[2 * i + 1]:
                found[2 * i + 1] = g.sum(1, keepdim=True)
            if i > first or want_x:
                g = torch.mul(g, weight.mT) if scalar else torch.bmm(g, weight.mT)
        if not want_x:
            return None, None, *found
        return g if inputs[0].shape[0] == g.shape[0] else g.sum(0, keepdim=True), None, *found


def mlp(x: Tensor, activate_last: bool, parameters: Sequence[Tensor]) -> Tensor:
    """(B, in), (1, B, in) or (n, B, in) -> (n, B, out)"""
    if x.dim() == 2:
        x = x.unsqueeze(0)
    if torch.is_grad_enabled():
        return MLPNode.apply(x, activate_last, *parameters)
    return forward(x, activate_last, parameters)[-1]
