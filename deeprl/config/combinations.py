"""What combines with what: a part says what it needs, the head and the replay say what they offer, and here they are compared.

The table is in the classes (`needs`, `offers`); this file has the words. A run is checked against it at start, `deeprl list combinations`
prints it, and a test builds every row of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from deeprl.networks.mapped import wrapped

WORDS = {
    "signed": "values that may take either sign, in one channel, because it adds a bonus or an entropy to them",
    "scalar": "one value for each action, of one channel, because its corrections along a trajectory have no distribution and no channels",
    "returns": "a loss of returns in ordinary units, whose variance it estimates",
    "sequences": "sequences of consecutive transitions",
    "behavior_probability": "the probability with which each action was taken",
    "successor": "the observation one step later",
    "terminated": "whether the first step of a transition terminated",
}
"""Of each property, as the end of "... needs ..."."""


HEAD = frozenset({"signed", "scalar", "returns"})
"""What a head offers, seen through its mapping."""


REPLAY = frozenset(WORDS) - HEAD
"""What a replay offers: fields of `batch.extra`, and an axis of time."""


def name(part: Any) -> str:
    """Of a part, its class, or one that is still to be completed."""
    found = getattr(part, "cls", part)
    return found.__name__ if isinstance(found, type) else type(found).__name__


def refusals(consumers: Mapping[str, Any], provider: str, offered: frozenset[str], among: frozenset[str]) -> list[str]:
    """
    Args:
        consumers: slot -> part.
        provider: who offers, for the sentence.
        among: properties to compare.

    Returns:
        a sentence for each need that is not offered, naming both sides and why.
    """
    return [
        f"{slot}={name(part)} needs {WORDS[need]}, and {provider} offers none."
        for slot, part in consumers.items()
        for need in sorted((getattr(getattr(part, "cls", part), "needs", frozenset()) & among) - offered)
    ]


def among_parts(head: Any, mapping: Any, rewards: Any, backup: Any, weighting: Any) -> list[str]:
    """Sentences on what of a discrete agent does not go together; none if all does.

    Args:
        rewards: built; the others may still be to complete.
    """
    try:
        seen = wrapped(head, mapping, rewards)
    except ValueError as error:
        return [f"agent.{error}."]
    low, high = getattr(head, "bounds", (-math.inf, math.inf))
    range_ = "" if low < 0 < high else f" with returns from {low:g} to {high:g}"
    provider = f"agent/head={name(head)}{range_}" if seen is head else f"agent/mapping={name(mapping)}"
    return refusals({"agent/backup": backup, "agent/weighting": weighting}, provider, seen.offers, HEAD)


def with_replay(backup: Any, auxiliary: Any, replay: Any, called: str) -> list[str]:
    """Sentences on what the replay does not offer. called: the replay's option."""
    consumers = {"agent/backup": backup, "agent/auxiliary": auxiliary}
    return refusals(consumers, f"replay={called}", getattr(replay, "cls", replay).offers, REPLAY)
