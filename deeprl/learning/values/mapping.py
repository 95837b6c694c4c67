"""Mappings: units in which a head predicts, over reward channels, and the regression target in those units.

    Q_c = f_c⁻¹(Q̃_c),     Q = Σ_c λ_c Q_c                           acting, and one a* for all channels
    U_c = Q_c + averaging · (T_c − Q_c)                             averaging, in ordinary units
    loss = Σ_c D( f_c(U_c) − Q̃_c )                                  regression, in mapped units; λ does not weight it

van Seijen, Fatemi, Tavakoli (2019) and Fatemi, Tavakoli (2022) share this scheme; their maps f are in `agents/`. Averaging and regression
are two steps, because the mean of logarithms is not the logarithm of the mean: only averaging → 0 is unbiased. The neutral map has ordinary
returns and one channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import Choice, in_range, numbers, one_of


@dataclass(frozen=True, kw_only=True)
class Mapping(Choice):
    """A map f and the settings of the scheme. Subclasses define `forward` and `inverse`, elementwise over (K, C, ...).

    Args:
        averaging: β_reg in (0, 1], the step of the average in ordinary units. It is a separate key, because the papers' α / learning rate
            has no meaning under Adam, and a schedule would change it.
        bound: largest value of a channel; null: 1 / (1 − discount^n_step), as in LogDQN's code. For n_step above 1 this cuts off returns,
            because rewards up to 1 reach 1 / (1 − discount): at γ = 0.96 and n = 3 it is 8.7, where returns reach 25.
        discount, n_step: for the default of `bound`, and for floors that are powers of γ.
        clip_bootstrap: cut off the bootstrapped value at 0 and the bound (at ± bound if rewards have a sign).
        clip_target: cut off targets above the bound.
        clip_prediction: cut off Q_c in the average.
        floor: smallest value that is mapped; null: none.
        floor_on: "target", before averaging (LogDQN), or "average", after it (MapDQN).
        initial: two values |λ_c| Q_c at Q̃ = 0, of channels with positive and with negative λ_c, raised to the floor. f is shifted to be 0
            there; null: no shift.
        zero_negative: the last layer of channels with negative λ_c starts at zero, so that their values start at `initial` exactly.
        shared: all channels share the head's hidden layers; else each channel has its own.
        scale_gradient: multiply the gradient into the layers that channels share by 1/√C.
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
        if self.initial is not None:
            numbers(self, "initial", 2)  # for channels that count for and against
        if (self.clip_bootstrap or self.clip_target or self.clip_prediction) and self.limit is None:
            raise ValueError("bound must be given where the discount is 1: 1 / (1 - discount) is none")

    def forward(self, value: Tensor) -> Tensor:
        """f: ordinary to mapped units, (K, C, ...) -> (K, C, ...)."""
        raise NotImplementedError

    def inverse(self, mapped: Tensor) -> Tensor:
        """f⁻¹: mapped to ordinary units, (K, C, ...) -> (K, C, ...)."""
        raise NotImplementedError

    def floored(self, value: Tensor) -> Tensor:
        """Values not below the floor, (K, C, ...) -> (K, C, ...)."""
        return value if self.floor is None else value.clamp(min=self.floor)

    def start(self, scale: float) -> float | None:
        """Ordinary value at Q̃ = 0 of a channel with this λ, before the floor; None: no shift."""
        return None if self.initial is None else (self.initial[0] if scale > 0 else self.initial[1]) / abs(scale)

    def offsets(self, scales: Sequence[float]) -> Tensor:
        """(C,) float64: value of f where each channel starts, the zero of mapped units."""
        starts = torch.tensor([[self.start(scale) or 0.0 for scale in scales]], dtype=torch.float64)  # (1, C)
        return (torch.zeros_like(starts) if self.initial is None else self.forward(self.floored(starts)))[0]

    @property
    def limit(self) -> float | None:
        """`bound`, or its default; None: no limit."""
        if self.bound is not None or self.discount is None or self.discount == 1:
            return self.bound
        return 1.0 / (1.0 - self.discount**self.n_step)

    @property
    def channels(self) -> int | None:
        """Number of reward channels that the mapping needs; None: any."""
        return None

    def neutral(self, scales: Sequence[float]) -> bool:
        """Whether mapped values of channels with λ = `scales` are plain values."""
        return False


@dataclass(frozen=True, kw_only=True)
class Identity(Mapping):
    """The identity: values are predicted as they are. With several channels this is Q-decomposition (Russell, Zimdars, 2003) with one a*.
    With one channel, `averaging` β < 1 gives the plain agent with Huber threshold 1/β and its gradient multiplied by β."""

    precision: str = "float32"

    def forward(self, value: Tensor) -> Tensor:
        return value

    def inverse(self, mapped: Tensor) -> Tensor:
        return mapped

    def neutral(self, scales: Sequence[float]) -> bool:
        return tuple(scales) == (1.0,) and self == Identity(discount=self.discount, n_step=self.n_step, bound=self.bound)
