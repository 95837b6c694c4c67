"""The choices of an agent, by network: what its constructor takes in place of one argument for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from deeprl.choice import Group
from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.actors import Actor, ActorChoice
from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.encoders import ImageEncoder
from deeprl.learning.networks.heads import HeadChoice
from deeprl.learning.networks.torsos import CommonTorso, TorsoChoice
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.parts.chains import Chain
from deeprl.learning.parts.improvement import Improvement
from deeprl.learning.parts.state_value import StateValue
from deeprl.learning.parts.weighting import Weighting
from deeprl.learning.values.mapping import Identity, Mapping
from deeprl.learning.values.reduce import Reduction
from deeprl.types import Spec


@dataclass(frozen=True, kw_only=True)
class ValueChoices(Group):
    """A network of values, and how it learns.

    Args:
        torso, head: its layers and outputs, `deeprl.learning.networks`.
        optimizer: a choice of `deeprl.learning.optim`.
        core: what remembers between torso and head, `deeprl.learning.networks.cores`.
        mapping: units in which the head predicts, over one or more reward channels.
        weighting: partial of a `Weighting`: weight of each sample in the regression.
        auxiliary: partial of an `Auxiliary`: another loss on the shared features.
    """

    torso: TorsoChoice
    head: HeadChoice
    optimizer: Optimizer
    core: CoreChoice = field(default_factory=Memoryless)
    mapping: Mapping = field(default_factory=Identity)
    weighting: Callable[..., Weighting] = Weighting
    auxiliary: Callable[..., Auxiliary] = Auxiliary


@dataclass(frozen=True, kw_only=True)
class CriticChoices(ValueChoices):
    """Critics over (observation, action).

    Args:
        ensemble: E, number of critics.

    Raises:
        ValueError: the head has a stream for each action.
    """

    ensemble: int

    def __post_init__(self) -> None:
        if self.head.dueling:
            raise ValueError("head.dueling compares actions, and a critic sees one action: set it to false")


@dataclass(frozen=True, kw_only=True)
class PolicyChoices(Group):
    """The actor.

    Args:
        output, torso: what builds its last layer, `deeprl.learning.networks.actors`, and its features.
        optimizer: a choice of `deeprl.learning.optim`.
        reduce: reduction of the critics to one value in its loss.
        period: updates of the critics per update of the actor (TD3's policy delay).
        improvement: its loss, without its entropy term.
    """

    keys: ClassVar = {"output": "actor", **{name: f"actor_{name}" for name in ("torso", "optimizer", "reduce", "period")}}

    output: ActorChoice
    torso: TorsoChoice
    optimizer: Optimizer
    reduce: Reduction
    period: int
    improvement: Improvement = field(default_factory=Improvement)

    def built(self, spec: Spec, core: CoreChoice) -> tuple[TorsoChoice, Actor]:
        """The torso for these observations, and the network.

        Raises:
            ValueError: they do not go together. A torso names the slot of the critics, where to choose another one changes nothing.
        """
        try:
            torso = self.torso.resolve(spec)
            return torso, self.output.build(spec, CommonTorso.of(torso, spec), core)
        except ValueError as error:
            raise ValueError(str(error).replace("agent/torso", "agent/actor/torso")) from error


@dataclass(frozen=True, kw_only=True)
class TargetChoices(Group):
    """Targets of critics.

    Args:
        backup: policy of the next action.
        chain: partial of a `deeprl.learning.parts.chains.Chain` over the critics.
        reduce: reduction of the critics to one value.
        period: updates of the critics per update of target networks that follow updates; None: that of the actor.
        state_value: partial of a `StateValue`: what targets bootstrap from in place of the policy's next action.
    """

    keys: ClassVar = {"period": "target_period"}

    backup: PolicyBackup
    chain: Callable[..., Chain]
    reduce: Reduction
    period: int | None = None
    state_value: Callable[..., StateValue] = StateValue


@dataclass(frozen=True, kw_only=True)
class ImageChoices(Group):
    """Features of images, which actor and critics share; vectors are used as they are.

    Args:
        encoder, torso: `deeprl.learning.networks.encoders`, and its layers.
    """

    keys: ClassVar = {"torso": "encoder_torso"}

    encoder: ImageEncoder
    torso: TorsoChoice
