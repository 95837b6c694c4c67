"""In which units a head predicts, over how many reward channels, and how a target becomes a goal in those units.

    Q_c = f_c⁻¹(Q̃_c),     Q = Σ_c λ_c Q_c                           acting, and one a* for all channels
    U_c = Q_c + averaging · (T_c − Q_c)                             averaging, in ordinary units
    loss = Σ_c D( f_c(U_c) − Q̃_c )                                  regression, in mapped units; λ does not weight it

van Seijen, Fatemi, Tavakoli (2019) and Fatemi, Tavakoli (2022) share this scheme; their maps f are in `agents/`. Two steps, because
the mean of logarithms is not the logarithm of the mean: only averaging → 0 is unbiased. The neutral map: ordinary returns, one channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, Part, in_range, one_of
from deeprl.losses import squared
from deeprl.networks.blocks import MLP
from deeprl.networks.heads import Scalar
from deeprl.networks.layers import Init
from deeprl.values import Returns, pick, under


@dataclass(frozen=True, kw_only=True)
class Mapping(Choice):
    """A map f with its scheme. Subclasses give `forward` and `inverse`, elementwise over (K, C, ...).

    Args:
        averaging: β_reg in (0, 1], the step of the average in ordinary units. A key of its own: under Adam the papers' α / learning rate
            means nothing, and a schedule would change it.
        bound: largest value of a channel; null: 1 / (1 − discount^n_step), right for rewards of a channel that are at most 1.
        discount, n_step: for that bound, and for floors that are powers of γ.
        clip_bootstrap: cut off what a target bootstraps from at 0 and the bound (± bound where rewards have a sign).
        clip_target: cut off the target at the bound from above.
        clip_prediction: cut off Q_c in the average.
        floor: least value that is mapped; null: none.
        floor_on: "target", before averaging (LogDQN), or "average", after it (MapDQN).
        initial: value of a channel at Q̃ = 0, for channels that count for and against: shifts f so that f(initial) = 0; null: no shift.
        zero_negative: the last layer of channels that count against starts at zero, so that they start at `initial` exactly.
        shared: the head's hidden layers serve all channels; else each has its own.
        scale_gradient: multiply the gradient into what channels share by 1/√C.
        precision: of the maps; layers stay float32. (The authors keep the last layer in float64 too.)
    """

    averaging: float = 1.0
    bound: float | None = None
    discount: float | None = None
    n_step: int = 1
    clip_bootstrap: bool = False
    clip_target: bool = False
    clip_prediction: bool = False
    floor: float | None = None
    floor_on: str = "average"
    initial: tuple[float, float] | None = None
    zero_negative: bool = False
    shared: bool = True
    scale_gradient: bool = False
    precision: str = "float64"

    def __post_init__(self):
        in_range(self, averaging=(0, 1), n_step=(1, None))
        if self.averaging == 0:
            raise ValueError("averaging must be above 0, or nothing is learned")
        one_of(self, floor_on=("target", "average"), precision=("float32", "float64"))
        for name in ("bound", "floor", "discount"):
            if getattr(self, name) is not None:
                in_range(self, **{name: (0, 1 if name == "discount" else None)})
        if self.initial is not None and len(self.initial) != 2:
            raise ValueError(f"initial must be two numbers, for channels that count for and against, not {list(self.initial)}")
        if (self.clip_bootstrap or self.clip_target or self.clip_prediction) and self.limit is None:
            raise ValueError("bound must be given where the discount is 1: 1 / (1 - discount) is none")

    def forward(self, value: Tensor) -> Tensor:
        """f: ordinary to mapped units."""
        raise NotImplementedError

    def inverse(self, mapped: Tensor) -> Tensor:
        """f⁻¹"""
        raise NotImplementedError

    def floored(self, value: Tensor) -> Tensor:
        """Values not below the floor."""
        return value if self.floor is None else value.clamp(min=self.floor)

    def start(self, scale: float) -> float | None:
        """Ordinary value at Q̃ = 0 of a channel with this λ; None: no shift."""
        return None if self.initial is None else float(self.initial[0] if scale > 0 else self.initial[1])

    @property
    def limit(self) -> float | None:
        if self.bound is not None or self.discount is None or self.discount == 1:
            return self.bound
        return 1.0 / (1.0 - self.discount**self.n_step)

    def wrap(self, head: Any, rewards: Part) -> Any:
        """The head that predicts in mapped units, over the channels of these rewards.

        Raises:
            ValueError: f takes no negative values and the rewards have them, or a head that is no scalar.
        """
        if "nonnegative" in self.needs - rewards.offers:
            raise ValueError(
                f"mapping {type(self).__name__} takes no negative values, and agent/rewards={type(rewards).__name__} has them: "
                "split rewards by sign, agent/rewards=polar or bands"
            )
        if not isinstance(head, Scalar):
            raise ValueError(
                f"mapping {type(self).__name__} maps one number for each action, and agent/head={type(head).__name__} has more"
            )
        return MappedChoice(head, self, channel_scales(rewards), "nonnegative" not in rewards.offers)


def channel_scales(rewards: Part) -> tuple[float, ...]:
    """λ of each channel."""
    return getattr(rewards, "scales", (1.0,))


@dataclass(frozen=True, kw_only=True)
class Identity(Mapping):
    """Values are predicted as they are. With several channels this is Q-decomposition (Russell, Zimdars, 2003) under one a*; with one,
    `averaging` β < 1 is the plain agent with a Huber threshold 1/β and its gradient times β."""

    precision: str = "float32"

    def forward(self, value: Tensor) -> Tensor:
        return value

    def inverse(self, mapped: Tensor) -> Tensor:
        return mapped

    def wrap(self, head: Any, rewards: Part) -> Any:
        """The head itself, of any kind, where there is nothing to do."""
        plain = channel_scales(rewards) == (1.0,) and self == Identity(discount=self.discount, n_step=self.n_step, bound=self.bound)
        return head if plain else super().wrap(head, rewards)


class Units(nn.Module):
    """A mapping over the channels of some rewards: every conversion between mapped and ordinary units. Axes (K, C, ...).

    Args:
        scales: (C,) λ.
        signed: values of a channel may be negative.
    """

    scales: Tensor
    offsets: Tensor

    def __init__(self, mapping: Mapping, scales: Sequence[float], signed: bool = False):
        super().__init__()
        self.mapping, self.dtype = mapping, getattr(torch, mapping.precision)
        limit = mapping.limit
        self.high = math.inf if limit is None else limit
        self.low = -self.high if signed else 0.0
        starts = [mapping.start(scale) for scale in scales]
        shift = torch.tensor([[0.0 if start is None else start for start in starts]], dtype=torch.float64)  # (1, C)
        offsets = torch.zeros_like(shift) if None in starts else mapping.forward(shift)
        # not saved: they follow from the configuration
        self.register_buffer("scales", torch.tensor(scales, dtype=self.dtype), persistent=False)
        self.register_buffer("offsets", offsets[0].to(self.dtype), persistent=False)

    def ordinary(self, mapped: Tensor) -> Tensor:
        """Q_c"""
        return self.mapping.inverse(mapped.to(self.dtype) + along_channels(self.offsets, mapped))

    def mapped(self, value: Tensor) -> Tensor:
        """Q̃_c"""
        return self.mapping.forward(value) - along_channels(self.offsets, value)

    def total(self, value: Tensor) -> Tensor:
        """(K, C, ...) -> (K, ...): Σ_c λ_c Q_c"""
        return (along_channels(self.scales, value) * value).sum(1)

    def bootstrap(self, value: Tensor) -> Tensor:
        """What targets may use of a channel's values."""
        return value.clamp(self.low, self.high) if self.mapping.clip_bootstrap else value

    def goal(self, value: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Both (K, C, ...): f(U) in mapped units, and Σ_c λ_c (T_c − Q_c) in ordinary ones, (K, ...)."""
        mapping = self.mapping
        if mapping.clip_target:
            target = target.clamp(max=self.high)
        if mapping.floor_on == "target":
            target = mapping.floored(target)
        if mapping.clip_prediction:
            value = value.clamp(self.low, self.high)
        average = torch.lerp(value, target.to(value.dtype), mapping.averaging)
        if mapping.floor_on == "average":
            average = mapping.floored(average)
        return self.mapped(average), self.total(target - value)


def along_channels(vector: Tensor, like: Tensor) -> Tensor:
    """(C,) -> (C, 1, ...), to broadcast against (K, C, ...)."""
    return vector.reshape(-1, *[1] * (like.dim() - 2))


class MappedValues:
    """`Values` of C channels in mapped units.

    Args:
        mapped: Q̃, (K, C, *B, A), or (K, C, *B) after `at`.
        units: what they mean.
        distance, features: as in `ScalarValues`.
    """

    def __init__(self, mapped: Tensor, units: Units, distance=squared, features: Tensor | None = None):
        self.mapped, self.units, self.distance = mapped, units, distance
        self.features: Tensor = features  # type: ignore[assignment]  # None in a table

    def mean(self) -> Tensor:
        return self.units.total(self.units.ordinary(self.mapped))

    def expect(self, policy: Tensor) -> Returns:
        """Atoms (K, C, *B, 1): each channel's value of the same actions."""
        value, policy = self.units.bootstrap(self.units.ordinary(self.mapped)), policy.unsqueeze(1)
        if policy.dtype == torch.int64:
            index = policy.unsqueeze(-1).expand(*value.shape[:-1], 1)
            return Returns(value.gather(-1, index))
        return Returns((value * policy).sum(-1, keepdim=True))

    def at(self, action: Tensor) -> MappedValues:
        return MappedValues(pick(self.mapped, action), self.units, self.distance, self.features)

    def unflatten(self, lead: torch.Size) -> MappedValues:
        return MappedValues(self.mapped.unflatten(2, lead), self.units, self.distance, self.features.unflatten(1, lead))

    def loss(self, target: Returns) -> tuple[Tensor, Tensor]:
        """Loss in mapped units, |error| in ordinary ones, both (K, *B)."""
        with torch.no_grad():
            returns = target.mean()
            assert returns.shape == self.mapped.shape, f"target {tuple(returns.shape)} and prediction {tuple(self.mapped.shape)} differ"
            goal, error = self.units.goal(self.units.ordinary(self.mapped), returns)
            goal, error = goal.to(self.mapped.dtype), error.to(self.mapped.dtype)
        return self.distance(goal - self.mapped).sum(1), error.abs()


@dataclass(frozen=True)
class MappedChoice(Choice):
    """What `Mapping.wrap` answers: builds the head of every channel."""

    head: Scalar
    mapping: Mapping
    scales: tuple[float, ...]
    signed: bool

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        return self.head.offers if self.signed else self.head.offers - {"signed"}

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        return MappedHead(self, features, tuple(hidden), actions, n, init)


class MappedHead(nn.Module):
    """(torsos or 1, B, F) -> `MappedValues`. What channels share, then one scalar head for each."""

    def __init__(self, choice: MappedChoice, features: int, hidden: tuple[int, ...], actions: int, n: int, init: str):
        super().__init__()
        head, mapping, channels = choice.head, choice.mapping, len(choice.scales)
        self.units = Units(mapping, choice.scales, choice.signed)
        self.common: MLP | None = None
        if hidden and mapping.shared:
            self.common = MLP(n, [features, *hidden], activate_last=True, init=head.init or init)
            features, hidden = hidden[-1], ()
        self.channels = nn.ModuleList([head.build(features, hidden, actions, n, init) for _ in range(channels)])
        self.gradient = channels**-0.5 if mapping.scale_gradient else 1.0
        for scale, channel in zip(choice.scales, self.channels):
            if scale < 0 and mapping.zero_negative:
                start_at_zero(channel)

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{c}.{name}": shape
            for c, channel in enumerate(self.channels)
            for name, shape in channel.noise_shapes().items()  # type: ignore[operator]  # every head has them
        }

    def forward(self, features: Tensor, noise: dict[str, Tensor]) -> MappedValues:
        hidden = features if self.common is None else self.common(features)
        if self.gradient != 1.0:
            hidden = self.gradient * hidden + ((1.0 - self.gradient) * hidden).detach()
        said = [channel(hidden, under(noise, f"{c}.")) for c, channel in enumerate(self.channels)]
        return MappedValues(torch.stack([values.q for values in said], 1), self.units, said[0].distance, features)


def start_at_zero(head: nn.Module) -> None:
    """Every last layer of a head: its initial weights and biases."""
    for block in head.modules():
        if isinstance(block, MLP):
            for name in (f"weight_{block.depth - 1}", f"bias_{block.depth - 1}"):
                block.initial[name] = Init("constant", value=0.0)
