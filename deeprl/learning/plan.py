"""Arguments from which the parts of an agent are built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deeprl.choice import Part
from deeprl.learning.networks.heads import HeadChoice
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.value_network import ValueNetwork
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.values.returns import Returns
from deeprl.types import Spec


@dataclass(frozen=True)
class Plan:
    """Finished choices of an agent, from which its parts are built. A part must not register `normalize` as a submodule, because the agent
    owns it.

    Attributes:
        spec: spaces of the value networks: those of the environment, and for critics (observation, action) with one action.
        torso: choice that builds the features of every value network.
        normalize: module that maps observations to the networks' input.
        optimizer: choice that trains the agent.
        backup: Bellman operator, a `deeprl.learning.backups.bellman.Backup`.
        head: choice that builds the heads, without the mapping.
        network: `network(place, stack, torsos, outputs)` builds a network of a part, over the same choice of torso, with `outputs` scalars
            per head.
        observed: the same for a network of the environment's observations, where `network` takes pairs (observation, action).
        action_dim: D of the actions in these pairs; 0 if the actions are discrete.
    """

    spec: Spec
    torso: TorsoChoice
    normalize: Part
    optimizer: Optimizer
    backup: Callable[..., Returns]
    head: HeadChoice
    network: Callable[..., ValueNetwork]
    observed: Callable[..., ValueNetwork]
    action_dim: int = 0
