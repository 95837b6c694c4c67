"""Classes that moved, and keys and options that changed their names. Run folders of before 1 December 2026 hold the old ones, which these
tables translate; they may go with the first release."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from deeprl.system.strict_json import JsonObject

LEARNING = ("values", "backups", "networks", "parts", "transforms", "optim", "agent", "value_agent", "actor_critic", "policy_gradient")
MOVED = {
    **{f"deeprl.{room}": f"deeprl.learning.{room}" for room in LEARNING},
    **{f"deeprl.{room}": f"deeprl.running.{room}" for room in ("training", "runs")},
    "deeprl.remote": "deeprl.running.collect",
    "deeprl.envs.tensor_minatar.TensorMinAtar": "deeprl.envs.tensor_minatar.choice.TensorMinAtar",
    "deeprl.agents.mac.MultiLevel": "deeprl.agents.multilevel.MultiLevel",
    "deeprl.agents.mac.EqualTicks": "deeprl.agents.multilevel.EqualTicks",
    "deeprl.agents.reinforce.Ascent": "deeprl.learning.parts.ascent.Ascent",
    "deeprl.agents.reinforce.TrajectoryPolicy": "deeprl.learning.trajectory_policy.TrajectoryPolicy",
    "deeprl.agents.stock.CVaR": "deeprl.agents.stock.CVaRUtility",
    "deeprl.agents.stock.Entropic": "deeprl.agents.stock.ExponentialUtility",
    "deeprl.agents.stock.MeanVariance": "deeprl.agents.stock.MeanVarianceUtility",
    "deeprl.agents.stock.Target": "deeprl.agents.stock.TargetReturn",
    "deeprl.agents.value_mapping.Asinh": "deeprl.learning.values.signed_maps.Asinh",
    "deeprl.agents.value_mapping.SignedRoot": "deeprl.learning.values.signed_maps.SignedRoot",
}
"""Old package, module or class: the new one"""
ENTRY_POINTS = "deeprl.moved"
"""Group of entry points by which a distribution says that its own modules moved: the name is the old path, the value the new one. It
renames only: whether a class may be called is asked of the new name."""
NEUTRAL = {
    "agent.advantage": {"_target_": "deeprl.learning.parts.advantage.GAE"},
    "agent.baseline": {"_target_": "deeprl.learning.parts.baseline.Baseline", "_partial_": True},
    "agent.core": {"_target_": "deeprl.learning.networks.cores.Memoryless"},
    "agent.improvement": {"_target_": "deeprl.learning.parts.improvement.Improvement"},
    "agent.intrinsic": {"_target_": "deeprl.learning.parts.intrinsic.Intrinsic", "_partial_": True},
    "agent.kl": {"_target_": "deeprl.learning.parts.divergence.Divergence", "_partial_": True},
    "agent.utility": {"_target_": "deeprl.learning.values.utility.Utility"},
    "agent.state_value": {"_target_": "deeprl.learning.parts.state_value.StateValue", "_partial_": True},
    "env.components": False,
    "env.parts": "auto",
    "env.privileged": [],
    "log.info": ["is_success"],
}
"""Keys that run folders of before them lack, with the value that changes nothing. By it neither hash nor comparison differ"""
SURROGATE, PLAIN = (f"deeprl.learning.policy_gradient.{name}" for name in ("Surrogate", "PlainGradient"))
"""The losses of PPO, which were those of A2C too, with clip=None; and those of A2C"""
PACES = ("learning_starts", "replay_ratio")
"""Keys of the top that are below `replay` today, as learning_starts and ratio"""
AUTO = "deeprl.replay.sequences.Auto"
CHOSEN = ("uniform", "sequences", "rollout", "rollout_once", "none")
"""What `replay=auto` chose"""


RENAMED = {
    "learning_starts": "replay.learning_starts",
    "replay_ratio": "replay.ratio",
    "accelerate.product": "accelerate.matmul_precision",
    "agent/explore=none": "agent/explore=greedy_after_warmup",
    "agent/chain=none": "agent/chain=online_target",
}
"""Keys and options of command lines and files that have another name today"""


def word_of_today(override: str) -> str:
    """An override of a stored sweep with the names of today: replay_ratio=2 -> replay.ratio=2."""
    if override == "agent.surrogate.clip=null":  # a value that made another loss of PPO's
        return "agent/surrogate=plain"
    key, equals, value = override.partition("=")
    return RENAMED.get(override) or f"{RENAMED.get(key, key)}{equals}{value}"


def renamed(name: str) -> str:
    """What a message says of a name of before, a key or SLOT=OPTION; "" of another."""
    return f" Its name is {RENAMED[name]} now." if name in RENAMED else ""


@cache
def moved() -> dict[str, str]:
    """`MOVED`, and what installed distributions announce."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | MOVED


def translated(config: JsonObject) -> JsonObject:
    """A configuration whose `_target_`s are where their classes are today."""
    return _renamed(config, moved())


def of_today(config: JsonObject) -> JsonObject:
    """A stored configuration with its classes and keys where they are today."""
    config = _with_losses(_with_key(translated(config), "accelerate", "product", "matmul_precision"), today=True)
    starts, ratio = (config.pop(key, None) for key in PACES)
    replay = config.get("replay")
    if not isinstance(replay, dict):
        return config
    if "capacity" in replay and "ratio" not in replay and ratio is not None:
        config["replay"] = {**replay, "learning_starts": starts, "ratio": ratio}
    return config


def former(config: JsonObject) -> JsonObject:
    """A configuration with its classes and keys where they were first, without slots of later. Hashes are of these, so that a move changes
    none."""
    config = _renamed(_with_losses(without_neutral(config), today=False), {new: old for old, new in moved().items()})
    config = _with_key(config, "accelerate", "matmul_precision", "product")
    replay = config.get("replay") if isinstance(config, dict) else None
    if not isinstance(replay, dict):
        return config
    if PACES[0] in config:
        return {**config, "replay": replay}
    if "ratio" in replay:
        paces = replay.get("learning_starts"), replay["ratio"]
        replay = {key: value for key, value in replay.items() if key not in ("learning_starts", "ratio")}
    elif "env" not in config:  # a part of a configuration
        return {**config, "replay": replay}
    elif "minibatches" in replay:  # of a rollout, whose updates for each step were recorded
        paces = 0, replay["epochs"] * replay["minibatches"] / (replay["length"] * config["env"]["num"])
    else:  # agents that plan had the keys too
        paces = 0, 1.0
    return {**config, "replay": replay, **dict(zip(PACES, paces))}


def _with_key(config: JsonObject, section: str, old: str, new: str) -> JsonObject:
    """A configuration with another name for a key of a section."""
    if not isinstance(config, dict) or not isinstance(config.get(section), dict):
        return config
    return {**config, section: {new if key == old else key: value for key, value in config[section].items()}}


def _with_losses(config: JsonObject, today: bool) -> JsonObject:
    """A configuration with the losses of A2C as they are written today, or as they were before."""
    agent = config.get("agent") if isinstance(config, dict) else None
    losses = agent.get("surrogate") if isinstance(agent, dict) else None
    if not isinstance(agent, dict) or not isinstance(losses, dict):
        return config
    if today and losses.get("_target_") == SURROGATE and losses.get("clip", 0) is None:
        losses = {**{key: value for key, value in losses.items() if key != "clip"}, "_target_": PLAIN}
    elif not today and losses.get("_target_") == PLAIN:
        losses = {**losses, "_target_": SURROGATE, "clip": None}
    return {**config, "agent": {**agent, "surrogate": losses}}


def without_neutral(config: JsonObject) -> JsonObject:
    """A configuration without the values of `NEUTRAL`."""
    for place, value in NEUTRAL.items():
        section, _, name = place.partition(".")
        node = config.get(section) if isinstance(config, dict) else None
        if isinstance(node, dict) and node.get(name) == value:
            config = {**config, section: {key: each for key, each in node.items() if key != name}}
    return config


def _renamed(config: object, table: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _path(value, table) if key == "_target_" else _renamed(value, table) for key, value in config.items()}
    return [_renamed(value, table) for value in config] if isinstance(config, list) else config


def automatic(config: JsonObject) -> JsonObject:
    """A configuration as it was while `replay=auto` chose the replay, by which runs of that time are compared with those of today."""
    config = without_neutral(config)
    replay, names = config.get("replay"), config.get("names")
    if not isinstance(replay, dict) or not isinstance(names, dict) or names.get("replay") not in CHOSEN:
        return config
    if names["replay"] in ("uniform", "sequences"):
        length = replay.get("length", 16)
        replay = {**replay, "_target_": AUTO, "length": None if length == 16 else length}
    return {**config, "replay": replay, "names": {**names, "replay": "auto"}}


def _path(target: object, table: dict[str, str]) -> Any:
    if not isinstance(target, str):
        return target
    places = [place for place in table if f"{target}.".startswith(f"{place}.")]
    place = max(places, key=len, default="")
    return table[place] + target[len(place) :] if places else target
