"""What the options on disk say of themselves: which actions a preset takes, its parts, and what these need and offer.

Tests that visit presets and options take them from here, so that a new one edits no test."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import pytest

from deeprl.learning.networks.cores import CoreChoice
from deeprl.running.config.alternatives import option_class
from deeprl.running.config.build import kinds
from deeprl.running.config.menu import options
from deeprl.running.config.tuned import content, lineage, slots, values

OF_TRANSITIONS = ("replay.learning_starts", "replay.ratio", "runtime.lag", "replay.capacity", "replay.n_step", "replay.batch_size")
"""Keys that a run on rollouts has not, or refuses"""

ALL = kinds()
ANY = tuple(name for name, kind in ALL.items() if kind == "any")
"""Presets for both kinds of actions, which have no chain; tests/agents/test_ppo.py is theirs."""


@cache
def parts(preset: str) -> dict[str, str]:
    """Slot, as "torso" or "torso@actor_torso" -> option, as the recipe and those from which it starts say."""
    files = [content("agent", name) for name in reversed(lineage(preset))]
    entries = [entry for file in files for entry in file.get("defaults", []) if isinstance(entry, dict)]
    found = {slot.removeprefix("override "): option for entry in entries for slot, option in entry.items()}
    return {slot: option for slot, option in found.items() if not slot.startswith("/")}


def needs_data(preset: str) -> bool:
    """Whether its recipe names a source of stored data, which has to be given."""
    return values("replay", slots("agent", preset).get("replay", "uniform")).get("data") == "???"


ALONE = tuple(name for name, kind in ALL.items() if kind != "any" and ("chain" not in parts(name) or needs_data(name)))
"""Presets for one kind of actions without a chain, whose parts few others share, or with data; each has a test of its own"""
KINDS = {name: kind for name, kind in ALL.items() if kind != "any" and name not in ALONE}
"""Preset -> "discrete" or "continuous"."""


def needs(slot: str, option: str) -> frozenset[str]:
    """What the part of an option needs, as its class says."""
    return stated(slot, option, "needs")


@cache
def stated(slot: str, option: str, name: str) -> frozenset[str]:
    """`needs` or `offers` of a class; nothing where they follow from settings, as those of heads."""
    found = getattr(option_class(slot, option), name, None)
    return found if isinstance(found, frozenset) else frozenset()


def has_copied_target(chain: str) -> bool:
    """Whether weights that are renewed with copies of target networks take a chain."""
    return option_class("agent/chain", chain).has_copied_target()


def mechanisms(preset: str) -> frozenset[str]:
    """Needs and offers of the parts, the kind of head and the kind of chain."""
    options = [(f"agent/{slot.partition('@')[0]}", option) for slot, option in parts(preset).items()]
    shared = {each for slot, option in options for each in stated(slot, option, "needs") | stated(slot, option, "offers")}
    return frozenset(shared | {option_class(slot, option).__name__ for slot, option in options if slot in ("agent/head", "agent/chain")})


def covering(found: dict[str, frozenset[str]]) -> tuple[str, ...]:
    """Few names that hold all properties between them. Greedy: the next is the first of those that add most."""
    left, chosen = frozenset().union(*found.values()), []
    while left:
        chosen.append(max(found, key=lambda name: len(found[name] & left)))
        left -= found[chosen[-1]]
    return tuple(chosen)


REPRESENTATIVES = covering({name: mechanisms(name) for name in sorted(KINDS, key=lambda name: (len(lineage(name)), name))})
"""Presets that hold each mechanism between them. The others combine the same parts."""


def presets(*but: str) -> list:
    """Every preset as a parameter, except some; those that represent no mechanism only with `pytest -m exhaustive`."""
    marks = {name: () if name in REPRESENTATIVES else (pytest.mark.exhaustive,) for name in KINDS if name not in but}
    return [pytest.param(name, marks=mark) for name, mark in marks.items()]


def cores(width: int) -> dict[str, CoreChoice]:
    """Every core that remembers, narrow, by its option: other sizes, such as heads and layers, are 2."""
    found = {name: option_class("agent/core", name) for name in options("agent/core")}
    sizes = {name: [field.name for field in fields(cls) if type(field.default) is int] for name, cls in found.items()}
    return {
        name: cls(**{size: width if size == "width" else 2 for size in sizes[name]}) for name, cls in found.items() if "state" in cls.needs
    }


def narrow(preset: str, width: int = 8) -> list[str]:
    """Words that make its networks small, quantiles few, of which a loss takes all pairs, and sequences short through which a core goes."""
    head = {field.name for field in fields(option_class("agent/head", parts(preset)["head"]))} if "head" in parts(preset) else set()
    words = [f"agent.head.{key}={width}" for key in ("quantiles", "samples", "target_samples") if key in head]
    if parts(preset).get("core", "none") != "none":
        words += [f"agent.core.width={width}", "replay.length=8", "replay.burn_in=4"]
    for slot in ("torso", "torso@actor_torso"):
        if option := parts(preset).get(slot):
            keys = {field.name for field in fields(option_class("agent/torso", option))}
            key = slot.rpartition("@")[2]
            words.append(f"agent.{key}.width={width}" if "width" in keys else f"agent.{key}.hidden=[{width}]")
    return words


def criterion(preset: str) -> list[str]:
    """Words that it needs wherever no tuned file has them: the average reward has no discount."""
    return ["discount=1"] if parts(preset).get("rate", "none") != "none" else []
