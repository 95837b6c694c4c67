"""Paths of classes that moved. Run folders of before 29 November 2026 hold the old ones, which this table translates; it may go with the
first release."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

LEARNING = ("values", "backups", "networks", "parts", "transforms", "optim", "agent", "value_agent", "actor_critic", "policy_gradient")
MOVED = {
    **{f"deeprl.{room}": f"deeprl.learning.{room}" for room in LEARNING},
    **{f"deeprl.{room}": f"deeprl.running.{room}" for room in ("training", "runs")},
    "deeprl.remote": "deeprl.running.collect",
}
"""Old package or module: the new one"""
ENTRY_POINTS = "deeprl.moved"
"""Group of entry points by which a distribution says that its own modules moved: the name is the old path, the value the new one. It
renames only: whether a class may be called is asked of the new name."""
NEUTRAL = {"core": {"_target_": "deeprl.learning.networks.cores.Memoryless"}}
"""Slots of an agent that run folders of before them lack, with the option that changes nothing. By it neither hash nor comparison differ"""
CHOSEN = ("uniform", "sequences", "rollout", "rollout_once", "none")
"""What `replay=auto` chose"""


@cache
def moved() -> dict[str, str]:
    """`MOVED`, and what installed distributions announce."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | MOVED


def translated(config: Any) -> Any:
    """A configuration whose `_target_`s are where their classes are today."""
    return _renamed(config, moved())


def former(config: dict[str, Any]) -> Any:
    """A configuration whose `_target_`s are where their classes were first, without slots of later. Hashes are of these, so that a move
    changes none."""
    return _renamed(without_neutral(config), {new: old for old, new in moved().items()})


def without_neutral(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the options of `NEUTRAL`."""
    agent = config.get("agent")
    if not isinstance(agent, dict):
        return config
    return {**config, "agent": {slot: value for slot, value in agent.items() if slot not in NEUTRAL or value != NEUTRAL[slot]}}


def _renamed(config: Any, table: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _path(value, table) if key == "_target_" else _renamed(value, table) for key, value in config.items()}
    return [_renamed(value, table) for value in config] if isinstance(config, list) else config


def automatic(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as it was while `replay=auto` chose the replay, by which runs of that time are compared with those of today."""
    config = without_neutral(config)
    replay, names = config.get("replay"), config.get("names")
    if not isinstance(replay, dict) or not isinstance(names, dict) or names.get("replay") not in CHOSEN:
        return config
    if names["replay"] in ("uniform", "sequences"):
        length = replay.get("length", 16)
        rollouts = {"length": None if length == 16 else length, "epochs": 4, "minibatches": 4}
        replay = {**replay, "_target_": "deeprl.replay.sequences.Auto", **rollouts}
    return {**config, "replay": replay, "names": {**names, "replay": "auto"}}


def _path(target: Any, table: dict[str, str]) -> Any:
    if not isinstance(target, str):
        return target
    places = [place for place in table if target.startswith(f"{place}.")]
    place = max(places, key=len, default="")
    return table[place] + target[len(place) :] if places else target
