"""Head of an agent with mapped values: layers that all channels share, then a scalar head for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, Part
from deeprl.learning.networks.heads import HeadChoice, Scalar, under
from deeprl.learning.networks.layers import Init
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.transforms.channels import channel_scales
from deeprl.learning.values.mapped import MappedValues, Units
from deeprl.learning.values.mapping import Mapping
from deeprl.types import NetworkNoise


def wrapped(head: HeadChoice, mapping: Mapping, rewards: Part) -> HeadChoice | Mapped:
    """The head in units of a mapping, over the channels of `rewards`; the head itself, of any kind, if the mapping is neutral.

    Raises:
        ValueError: f takes no negative values and the rewards have them, the head is not `Scalar`, the number of channels is not the
            mapping's, or f is infinite at `initial`.
    """
    scales, name = channel_scales(rewards), type(mapping).__name__
    if mapping.channels not in (None, len(scales)):
        raise ValueError(
            f"mapping has {mapping.channels} maps, and agent/rewards={type(rewards).__name__} {len(scales)} channels: one each"
        )
    if mapping.neutral(scales):
        return head
    if "nonnegative" in mapping.needs - rewards.offers:
        raise ValueError(
            f"mapping {name} takes no negative values, and agent/rewards={type(rewards).__name__} has them: "
            "split rewards by sign, agent/rewards=polar or bands"
        )
    if not isinstance(head, Scalar):
        one = f"mapping {name} maps one number for each action: agent/head=scalar, not agent/head={type(head).__name__}"
        raw = " and agent/rewards=raw" if len(scales) > 1 else ""  # values of several channels are mapped, by the identity too
        raise ValueError(f"{one}; or agent/mapping=identity without keys of its own{raw}, with any head")
    if not mapping.offsets(scales).isfinite().all():
        raise ValueError(
            f"mapping.initial is {list(mapping.initial or ())}, where {name} is infinite or no number: "
            "set both numbers above 0, or give the map a floor"
        )
    return Mapped(head, mapping, scales, "nonnegative" not in rewards.offers)


@dataclass(frozen=True)
class Mapped(Choice):
    """Choice that builds the heads of all channels, see `wrapped`."""

    head: Scalar
    mapping: Mapping
    scales: tuple[float, ...]
    signed: bool

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        """Offers. One signed channel offers what plain values offer, without `returns`, because the loss is in mapped units. Several
        channels offer nothing, because an entropy or the corrections of a trace would be added to each of them."""
        return frozenset({"signed", "scalar"}) if self.signed and self.scales == (1.0,) else frozenset()

    def build(self, features: int, hidden: Sequence[int], actions: int, n: int, init: str) -> nn.Module:
        return MappedHead(self, features, tuple(hidden), actions, n, init)

    def trunk(self, features: int, hidden: Sequence[int], torsos: int, init: str) -> MLP:
        """See `HeadChoice.trunk`.

        Raises:
            ValueError: each channel has hidden layers of its own.
        """
        if not self.mapping.shared and len(self.scales) > 1:
            raise ValueError(
                "agent.chain.torso must not be shared_hidden with agent.mapping.shared=false, because then each channel has hidden layers "
                "of its own: set agent.chain.torso=shared, or agent.mapping.shared=true"
            )
        return self.head.trunk(features, hidden, torsos, init)


class MappedHead(nn.Module):
    """Shared layers, then one scalar head for each channel: (torsos or 1, B, F) -> `MappedValues`.

    Shared layers have no noise and no streams, so that with `mapping.shared` the options `noisy` and `dueling` concern the last layers.
    """

    def __init__(self, choice: Mapped, features: int, hidden: tuple[int, ...], actions: int, n: int, init: str):
        super().__init__()
        head, mapping, channels = choice.head, choice.mapping, len(choice.scales)
        zeros = [scale < 0 and mapping.zero_negative for scale in choice.scales]
        if any(zeros) and head.unit:
            raise ValueError(
                "agent.head.unit=true projects weights to length 1 after each update, and the negative channel starts with zeros, of which "
                "the first update would make units: set agent.mapping.zero_negative=false, or agent.head.unit=false"
            )
        self.units = Units(mapping, choice.scales, choice.signed)
        self.common: MLP | None = None
        if hidden and mapping.shared:
            self.common = head.trunk(features, hidden, n, init)
            features, hidden = hidden[-1], ()
        self.channels = nn.ModuleList([head.build(features, hidden, actions, n, init) for _ in range(channels)])
        self.gradient = channels**-0.5 if mapping.scale_gradient else 1.0
        for zero, channel in zip(zeros, self.channels):
            if zero:
                start_at_zero(channel)

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{c}.{name}": shape
            for c, channel in enumerate(self.channels)
            for name, shape in channel.noise_shapes().items()  # type: ignore[operator]  # every head has them
        }

    def forward(self, features: Tensor, noise: NetworkNoise) -> MappedValues:
        hidden = features if self.common is None else self.common(features)
        if self.gradient != 1.0:
            hidden = self.gradient * hidden + ((1.0 - self.gradient) * hidden).detach()
        values = [channel(hidden, NetworkNoise(under(noise.layers, f"{c}."), {})) for c, channel in enumerate(self.channels)]
        return MappedValues(torch.stack([channel.q for channel in values], 1), self.units, values[0].distance, features)


def start_at_zero(head: nn.Module) -> None:
    """Set the initial weights and biases of every last layer of a head to zero."""
    for block in head.modules():
        if isinstance(block, MLP):
            for name in (f"weight_{block.depth - 1}", f"bias_{block.depth - 1}"):
                block.initial[name] = Init("constant", value=0.0)
