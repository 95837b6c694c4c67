"""What the parts of a discrete agent are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deeprl.types import Spec


@dataclass(frozen=True)
class Plan:
    """The finished choices of an agent. A part takes from it what it needs. A part must not register `normalize` as a
    submodule, because the agent owns it.

    Attributes:
        spec: spaces of the environment.
        torso: choice that builds the features of every network.
        normalize: observations -> what networks see.
        optimizer: choice that trains the agent.
        backup: Bellman operator.
        network: `network(place, stack, torsos, outputs)`, a part's own network over the same torso, with so many scalars.
    """

    spec: Spec
    torso: Any
    normalize: Any
    optimizer: Any
    backup: Any
    network: Callable[..., Any]
