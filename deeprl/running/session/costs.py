"""What a run says at its start of choices that its user may not have meant, once its agent is built."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from deeprl.learning.agent import Agent
from deeprl.learning.networks.convolutions import ImageBlock
from deeprl.running.config.rules import get
from deeprl.running.runs.config_file import Config
from deeprl.system.terminal import amount, say
from deeprl.types import Spec

WIDE = 50
"""Networks side by side above which a run says what they cost. Papers have up to 20 critics, and iterations."""


def tell_width(config: Config, agent: Agent) -> None:
    """Say what very many networks cost, because a zero too many would only show as a slow run."""
    for key in ("agent.chain.length", "agent.ensemble"):
        number = get(config, key)
        if isinstance(number, int) and number > WIDE:
            size = sum(tensor.nbytes for tensor in [*agent.parameters(), *agent.buffers()])
            say(
                f"{key}={number}: {number:,} networks side by side, and each update computes all of them. Weights and targets take "
                f"{amount(size)}, and gradients and the optimizer up to three times that"
            )


def tell_scale(agent: nn.Module, spec: Spec) -> None:
    """Say that a torso takes planes of zeros and ones for pixels."""
    factor = min((block.scale for block in agent.modules() if isinstance(block, ImageBlock)), default=1.0)
    if spec.flags and factor < 1:
        say(
            f"the torso multiplies the bytes of observations by {factor:.2g}, and their space says that they are 0 or 1: let the "
            "environment give 255 for 1, or set the torso's scale, as in agent/torso=nature +agent.torso.scale=1"
        )


def tell_first_phase(agent: Agent, updates: int) -> None:
    """Say which losses are learned later than the others, or never.

    Args:
        updates: of the whole run.
    """
    key, first = agent.first_phase
    if not first:
        return
    early, late = agent.due(first), [name for name in agent.objectives if name not in agent.due(first)]
    if first < updates:
        say(f"{key}={first}: the first {first:,} of {updates:,} updates learn {listed(early)} alone, the others {listed(late)} too")
    else:
        say(
            f"{key}={first}: all {updates:,} updates of this run learn {listed(early)} alone, and {listed(late)} never: lower it, or raise "
            "steps"
        )


def listed(names: Iterable[str]) -> str:
    return " and ".join(names)
