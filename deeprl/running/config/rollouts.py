"""What a configuration says of rollouts: whether the agent learns from them, and the keys that they take the place of."""

from __future__ import annotations

from typing import Any

from deeprl.errors import ConfigError
from deeprl.running.config.instantiate import resolve
from deeprl.running.config.rules import get
from deeprl.running.config.sources import chunk, source_class

REPLACED = ("learning_starts", "replay_ratio", "runtime.lag")
"""Keys without a meaning beside a rollout"""


def learns_from(config: dict[str, Any], what: str) -> bool:
    """Whether the agent of a configuration, or its backup, needs "sequences" or "rollout"."""
    targets = {path: get(config, f"{path}._target_") for path in ("agent", "agent.backup")}
    return any(what in getattr(resolve(target, path, None), "needs", ()) for path, target in targets.items() if target is not None)


def plain(config: dict[str, Any]) -> bool:
    """Whether the loss of the policy has no ratio of probabilities, so that it holds for one update of a rollout."""
    return get(config, "agent.surrogate.clip", 0.0) is None


def settle_source(config: dict[str, Any], user: set[str]) -> None:
    """Let learning start at once where rollouts say when, or nothing is learned.

    Args:
        user: keys that the command line set.

    Raises:
        ConfigError: the user set a key that has no meaning with this replay, or chose none for an agent that learns from one.
    """
    replay = config["replay"]
    if not source_class(config).paced_by:
        if not learns_from(config, "stream"):
            raise ConfigError(f"agent={config['names']['agent']} learns from transitions, and replay=none keeps none: leave it out.")
        refuse_keys(user, "plans and makes no updates")
        config["learning_starts"] = 0
    if chunk(config) is None:
        return
    for key in ("length", "epochs", "minibatches"):  # here, because the update count below is made of them
        if not isinstance(value := replay[key], int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"replay.{key}={value!r} is out of range: it takes a whole number of at least 1.")
    if plain(config) and replay["epochs"] * replay["minibatches"] != 1:
        raise ConfigError(
            f"replay.epochs={replay['epochs']} replay.minibatches={replay['minibatches']} do not go with agent.surrogate.clip=null "
            "(agent/surrogate=plain), because its gradient holds only for the policy that collected the rollout: choose "
            "replay=rollout_once, or agent/surrogate=clipped."
        )
    refuse_keys(user, "learns from rollouts, of which replay.length, .epochs and .minibatches say when and how much")
    for name, schedule in (get(config, "agent.explore", None) or {}).items():
        begins = isinstance(schedule, dict) and schedule.get("begin") == config["learning_starts"]
        if begins and f"agent.explore.{name}.begin" not in user:
            schedule["begin"] = 0  # exploration falls from where learning starts
    config["learning_starts"] = 0


def refuse_keys(user: set[str], does: str) -> None:
    """
    Raises:
        ConfigError: the user set a key of `REPLACED`, which has no meaning for an agent that `does` something else.
    """
    for key in REPLACED:
        if key in user:
            raise ConfigError(f"{key} has no meaning here, because this agent {does}: leave it out.")


def refuse_single_rows(config: dict[str, Any]) -> None:
    """
    Raises:
        ConfigError: each batch is one row, and the advantages of a batch are divided by their deviation, which one row does not have.
    """
    if chunk(config) is None or not get(config, "agent.surrogate.normalize", False):
        return
    rows, count = config["replay"]["length"] * config["env"]["num"], config["replay"]["minibatches"]
    if rows // count == 1:
        raise ConfigError(
            f"replay.minibatches={count} leaves one row for each batch, because a rollout has {rows}. Advantages are divided by the "
            "deviation of a batch, which one row does not have: choose fewer, a longer rollout, or agent.surrogate.normalize=false."
        )


def record_ratio(config: dict[str, Any]) -> None:
    """Write the updates for each step of rollouts into `replay_ratio`, for readers of the configuration; training does not read it. The
    number of environments must be final."""
    if chunk(config) is not None:
        replay = config["replay"]
        config["replay_ratio"] = replay["epochs"] * replay["minibatches"] / (replay["length"] * config["env"]["num"])
