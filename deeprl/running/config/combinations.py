"""Combinations of parts: a part has needs, the head and the replay have offers, and a need without an offer is a refusal.

Needs and offers are attributes of the classes. A run is checked at its start, `deeprl list combinations` prints the table, and a test
builds every row of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from deeprl.learning.networks.mapped import wrapped
from deeprl.learning.transforms.channels import channel_scales

WORDS = {
    "signed": "values that may take either sign, in one channel, because it adds to them or subtracts from them",
    "scalar": "one value for each action, in one channel, because its corrections along a trajectory are for single values only",
    "returns": "a loss of returns in ordinary units, because it compares them with rewards, or estimates their variance",
    "residual": "squared errors of single values, or probabilities of categories, because it learns their expectation",
    "distribution": "a distribution of returns, because it reads more than their mean: agent/head=quantile, say",
    "quantiles": "atoms of equal probability, because it sorts them",
    "actor": "an actor, as agents for continuous actions have",
    "density": "a policy with a density, because it reads the density's logarithm",
    "actions": "a finite number of actions, because it compares them or sums over them",
    "iterations": "copies of networks that start a new iteration, because its own are renewed with them",
    "joint": "both ends of a batch in one evaluation, because its statistics are those of both",
    "single": "single observations, because it reads networks at observations of its own choice",
    "sequences": "sequences of consecutive transitions",
    "behavior_probability": "the probability with which each action was taken",
    "successor": "the observation one step later",
    "rollout": "whole rollouts of the present policy",
    "trajectories": "whole episodes of one policy",
    "state": "sequences that start with a state of the core, because it remembers what came before",
    "stream": "no replay, because it plans from statistics of its own and makes no updates",
    "terminated": "whether the first step of a transition terminated",
    "restart": "the first observation after an episode that terminated",
}
"""For each property that several parts need, the words that follow "needs" in a message. A part may have `need_words` of its own."""


HEAD = frozenset({"signed", "scalar", "returns", "residual", "distribution", "quantiles"})
"""Properties that a head with its mapping may offer."""


ACTOR = frozenset({"actor", "density", "actions"})
"""Properties that an actor may offer, or an agent without one."""


CHAIN = frozenset({"joint", "iterations"})
"""Properties that a chain may offer."""


CORE = frozenset({"single"})
"""Properties that a core may offer, or an agent without one."""


class Refusal(NamedTuple):
    """A need without an offer, for example agent/backup=Retrace, "scalar", agent/head=Categorical, and the words of the need."""

    consumer: str
    need: str
    provider: str
    words: str

    def __str__(self) -> str:
        return f"{self.consumer} needs {self.words}, and {self.provider} offers none."


def class_of(part: object) -> type:
    """The class of a part, which may be a `Deferred`."""
    return getattr(part, "cls", type(part))


def words(part: type, need: str) -> str:
    """What follows "needs" in a message: the part's own words, those that parts share, or the name of the need."""
    return getattr(part, "need_words", {}).get(need) or WORDS.get(need, need)


def refusals(consumers: Mapping[str, object], provider: str, offered: frozenset[str], among: frozenset[str] | None = None) -> list[Refusal]:
    """The needs of `consumers` that are not `offered`.

    Args:
        consumers: slot -> part.
        provider: slot and class of the head or replay, for the message.
        among: properties to compare; another provider offers the others. None: all in which head, actor, chain and core have no say, as
            for a replay, which offers fields of `batch.extra` and an axis of time.
    """
    found = []
    for slot, part in consumers.items():
        cls = class_of(part)
        needs: frozenset[str] = getattr(cls, "needs", frozenset())
        asked = needs - HEAD - ACTOR - CHAIN - CORE if among is None else needs & among
        found += [Refusal(f"{slot}={cls.__name__}", need, provider, words(cls, need)) for need in sorted(asked - offered)]
    return found


CONSUMERS = (
    "backup", "chain", "weighting", "auxiliary", "temperature", "rate", "reduce", "actor_reduce", "explore", "improvement", "state_value",
    "utility",
)  # fmt: skip
"""Slots of an agent with needs that its head, its actor or its core must meet."""


def against_actor(consumers: Mapping[str, object], actor: object = None) -> list[Refusal]:
    """Refusals of parts that need an actor, or the actions of an agent without one. Arguments are those of `among_parts`."""
    acting = f"agent/actor={class_of(actor).__name__}" if actor is not None else "an agent for discrete actions"
    offered: frozenset[str] = class_of(actor).offers if actor is not None else frozenset({"actions"})  # type: ignore[attr-defined]
    return refusals({f"agent/{slot}": part for slot, part in consumers.items()}, acting, offered, ACTOR)


def in_units(mapping: Any, rewards: Any) -> str:
    """The choices by which values are not the head's own, of one channel in ordinary units. There is at least one."""
    units, channels = f"agent/mapping={class_of(mapping).__name__}", f"agent/rewards={class_of(rewards).__name__}"
    if len(channel_scales(rewards)) == 1:
        return units
    return channels if mapping.neutral((1.0,)) else f"{channels} with {units}"


def among_parts(head: Any, mapping: Any, rewards: Any, consumers: Mapping[str, object], actor: Any = None) -> list[Refusal]:
    """Refusals within an agent.

    Args:
        rewards: an object; the other parts may be `Deferred`.
        consumers: the parts in the slots `CONSUMERS`, as far as the agent has them.
        actor: None in a discrete agent.

    Raises:
        ValueError: the mapping does not go with the head or the rewards.
    """
    if actor is not None and "nonnegative" in mapping.needs:
        raise ValueError(
            f"mapping {class_of(mapping).__name__} takes no negative values, and critics of continuous actions have one channel of rewards "
            "with both signs: choose agent/mapping=signed_root or asinh"
        )
    seen = wrapped(head, mapping, rewards)
    low, high = getattr(head, "bounds", (-math.inf, math.inf))
    range_ = "" if low < 0 < high else f" with returns from {low:g} to {high:g}"
    provider = f"agent/head={class_of(head).__name__}{range_}" if seen is head else in_units(mapping, rewards)
    named = {f"agent/{slot}": part for slot, part in consumers.items()}
    return refusals(named, provider, seen.offers, HEAD) + against_actor(consumers, actor)
