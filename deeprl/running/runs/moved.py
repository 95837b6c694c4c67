"""Paths of classes that moved. Run folders of before 29 November 2026 hold the old ones, which this table translates; it may go with the
first release."""

from __future__ import annotations

from typing import Any

LEARNING = ("values", "backups", "networks", "parts", "transforms", "optim", "agent", "value_agent", "actor_critic", "policy_gradient")
MOVED = {
    **{f"deeprl.{room}": f"deeprl.learning.{room}" for room in LEARNING},
    **{f"deeprl.{room}": f"deeprl.running.{room}" for room in ("training", "runs")},
    "deeprl.remote": "deeprl.running.collect",
}
"""Old package or module: the new one"""
FORMER = {new: old for old, new in MOVED.items()}


def translated(config: Any, table: dict[str, str] = MOVED) -> Any:
    """A configuration whose `_target_`s are where their classes are today."""
    if isinstance(config, dict):
        return {key: _path(value, table) if key == "_target_" else translated(value, table) for key, value in config.items()}
    return [translated(value, table) for value in config] if isinstance(config, list) else config


def former(config: Any) -> Any:
    """A configuration whose `_target_`s are where their classes were first. Hashes are of these, so that a move changes none."""
    return translated(config, FORMER)


def _path(target: Any, table: dict[str, str]) -> Any:
    if not isinstance(target, str):
        return target
    places = [place for place in table if target.startswith(f"{place}.")]
    place = max(places, key=len, default="")
    return table[place] + target[len(place) :] if places else target
