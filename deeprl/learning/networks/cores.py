"""Recurrent cores: what remembers between torso and head. Choices whose `build(inputs, n)` gives a `Core` with the stack axis n first.

    x (n, B, inputs), state (n, B, size)  ->  y (n, B, features), new state        one step, `Core.step`
    x (n, T, B, inputs), state, first (T, B)  ->  y (n, T, B, features), states    T steps, `unroll`

A state is one tensor, so that it can be stored, sent and exported as an observation is; zeros start an episode. `first[t]` is True where
the observation of row t is the first of an episode: the state is zeroed *before* that row is consumed.

What does not depend on the state (`Core.prepare`: most of the multiply-adds) is computed for all steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import Choice, in_range, one_of
from deeprl.learning.networks.blocks import Block
from deeprl.learning.networks.layers import SCHEMES, Init

WITHOUT_STATE = "agent/core must be none beside a part that looks at single observations"


class Core(Block):
    """
    Args:
        n: stack size.
        inputs, features: width of x and y.
        size: numbers of a state.
    """

    def __init__(self, n: int, inputs: int, features: int, size: int):
        super().__init__()
        self.n, self.inputs, self.features, self.size = n, inputs, features, size

    def start(self, batch: int) -> Tensor:
        """(n, batch, size): the state before the first row of an episode."""
        weights = next(self.parameters(), torch.empty(0))
        return torch.zeros(self.n, batch, self.size, dtype=weights.dtype, device=weights.device)

    def of_rows(self, states: Tensor) -> Tensor:
        """States as rows of a replay and of acting, (B, size), for each entry of the stack: (n, B, size)."""
        return states.expand(self.n, -1, -1)

    def prepare(self, x: Tensor) -> Tensor:
        """What `step` needs of the input, for rows of any number of steps at once: (n, R, inputs) -> (n, R, …)."""
        return x

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step from a prepared input: (n, B, …), (n, B, size) -> y (n, B, features), new state."""
        raise NotImplementedError


def unroll(core: Core, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """T steps.

    Args:
        x: (n, T, B, inputs).
        state: (n, B, size), before row 0.
        first: (T, B) bool.

    Returns:
        y (n, T, B, features), and the states after each row (n, T, B, size).
    """
    prepared = core.prepare(x.flatten(1, 2)).unflatten(1, x.shape[1:3])
    going, ys, states = (~first)[None, :, :, None].to(state.dtype), [], []
    for row, on in zip(prepared.unbind(1), going.unbind(1)):  # the gradient of an index is as large as all T rows, for each of them
        y, state = core.step(row, state * on)
        ys.append(y)
        states.append(state)
    return torch.stack(ys, 1), torch.stack(states, 1)


class Gates(Core):
    """A core whose gates are sums of a linear map of the input and one of the last output: weights (n, inputs, G), (n, features, G)."""

    weight_x: Tensor
    weight_h: Tensor
    bias_x: Tensor
    bias_h: Tensor

    def __init__(self, n: int, inputs: int, features: int, size: int, gates: int, init: str):
        super().__init__(n, inputs, features, size)
        width, bound = gates * features, Init("torch", features)  # PyTorch's own: every number U(-1/sqrt(features), 1/sqrt(features))
        zero = Init("constant", value=0.0)
        self.add("weight_x", (n, inputs, width), bound if init == "torch" else Init(init, inputs, width))
        self.add("weight_h", (n, features, width), bound if init == "torch" else Init(init, features, width))
        self.add("bias_x", (n, 1, width), bound if init == "torch" else zero)
        self.add("bias_h", (n, 1, width), bound if init == "torch" else zero)

    def prepare(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias_x, x, self.weight_x)


class LSTMCore(Gates):
    """Long short-term memory (Hochreiter, Schmidhuber, 1997), with the forget gate of Gers et al. (2000); gates in PyTorch's order
    i, f, g, o.

    c ← σ(f) c + σ(i) tanh(g)        h ← σ(o) tanh(c)        state = (h, c), y = h
    """

    def __init__(self, n: int, inputs: int, width: int, init: str = "torch"):
        super().__init__(n, inputs, width, 2 * width, 4, init)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, c = state.chunk(2, -1)
        i, f, g, o = (x + torch.baddbmm(self.bias_h, h, self.weight_h)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h, torch.cat([h, c], -1)


class GRUCore(Gates):
    """Gated recurrent unit (Cho et al., 2014) in PyTorch's form, whose reset gate multiplies a linear map of h; order r, z, n.

    n = tanh(x_n + σ(r) (U_n h + b_n))        h ← (1 − σ(z)) n + σ(z) h        state = y = h
    """

    def __init__(self, n: int, inputs: int, width: int, init: str = "torch"):
        super().__init__(n, inputs, width, width, 3, init)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        r, z, new = x.chunk(3, -1)
        reset, update, memory = torch.baddbmm(self.bias_h, state, self.weight_h).chunk(3, -1)
        z = (z + update).sigmoid()
        new = (new + (r + reset).sigmoid() * memory).tanh()
        h = (1 - z) * new + z * state
        return h, h


class KeepCore(Core):
    """Returns its input and remembers nothing: with it a recurrent agent is the feed-forward one. For tests and controls."""

    def __init__(self, n: int, inputs: int):
        super().__init__(n, inputs, inputs, 1)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return x, state


@dataclass(frozen=True)
class CoreChoice(Choice):
    """What remembers between torso and head. Its replay gives sequences with the state before their first row."""

    needs = frozenset({"state"})

    def build(self, inputs: int, n: int) -> Core | None:
        """
        Args:
            inputs: width of the features.
            n: stack size.
        """
        raise NotImplementedError

    def check(self, needs: frozenset[str]) -> None:
        """
        Args:
            needs: of an agent.

        Raises:
            ValueError: a part of the agent needs what sequences with a state do not have.
        """
        if self.needs and "restart" in needs:
            raise ValueError("agent/core must be none beside a part that goes on after a termination, because a core starts anew there")
        if self.needs and "successor" in needs:
            raise ValueError(WITHOUT_STATE)


@dataclass(frozen=True)
class Memoryless(CoreChoice):
    """Nothing remembers: heads read the features of one observation."""

    needs = frozenset()
    offers = frozenset({"single"})

    def build(self, inputs: int, n: int) -> None:
        return None


@dataclass(frozen=True)
class Gated(CoreChoice):
    """
    Args:
        width: units, also the width of the output.
        init: scheme of both weights, `deeprl.learning.networks.layers`. torch: PyTorch's own, biases too. Otherwise biases are zero, as in
            CleanRL and Stable-Baselines3 (orthogonal).
    """

    width: int = 128
    init: str = "torch"

    def __post_init__(self) -> None:
        in_range(self, width=(1, None))
        one_of(self, init=SCHEMES)


@dataclass(frozen=True)
class LSTM(Gated):
    """See `LSTMCore`."""

    def build(self, inputs: int, n: int) -> Core:
        return LSTMCore(n, inputs, self.width, self.init)


@dataclass(frozen=True)
class GRU(Gated):
    """See `GRUCore`."""

    def build(self, inputs: int, n: int) -> Core:
        return GRUCore(n, inputs, self.width, self.init)


@dataclass(frozen=True)
class Keep(CoreChoice):
    """See `KeepCore`."""

    def build(self, inputs: int, n: int) -> Core:
        return KeepCore(n, inputs)
