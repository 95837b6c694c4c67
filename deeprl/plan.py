"""Arguments from which the parts of a discrete agent are built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deeprl.types import Spec


@dataclass(frozen=True)
class Plan:
    """Finished choices of an agent, from which its parts are built. A part must not register `normalize` as a submodule, because the agent
    owns it.

    Attributes:
        spec: spaces of the environment.
        torso: choice that builds the features of every network.
        normalize: module that maps observations to the networks' input.
        optimizer: choice that trains the agent.
        backup: Bellman operator.
        head: choice that builds the heads, without the mapping.
        network: `network(place, stack, torsos, outputs)` builds a network of a part, over the same choice of torso, with `outputs` scalars
            per head.
    """

    spec: Spec
    torso: Any
    normalize: Any
    optimizer: Any
    backup: Any
    head: Any
    network: Callable[..., Any]
