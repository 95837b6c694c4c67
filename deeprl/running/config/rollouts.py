"""What a configuration says of rollouts: whether the agent learns from them, and the keys that they take the place of."""

from __future__ import annotations

from typing import Any

from deeprl.errors import ConfigError
from deeprl.replay.none import NoReplay
from deeprl.replay.rollout import Rollout
from deeprl.replay.sequences import Auto
from deeprl.running.config.instantiate import resolve
from deeprl.running.config.rules import get, learns_nothing, replay_rows, rollout_updates

ONLY_ROLLOUTS = ("replay.epochs", "replay.minibatches")
REPLACED = ("learning_starts", "replay_ratio", "replay.capacity", "replay.batch_size", "replay.n_step", "replay.device", "runtime.lag")
"""Keys without a meaning beside a rollout"""
LENGTH, PLAIN_LENGTH = 128, 5
"""Ticks of a rollout, and of one from which the plain policy gradient takes its one update"""


def learns_from(config: dict[str, Any], what: str) -> bool:
    """Whether the agent of a configuration, or its backup, needs "sequences" or "rollout"."""
    targets = {path: get(config, f"{path}._target_") for path in ("agent", "agent.backup")}
    return any(what in getattr(resolve(target, path, None), "needs", ()) for path, target in targets.items() if target is not None)


def plain(config: dict[str, Any]) -> bool:
    """Whether the loss of the policy has no ratio of probabilities, so that it holds for one update of a rollout."""
    return get(config, "agent.surrogate.clip", 0.0) is None


def one_update(replay: dict[str, Any], user: set[str]) -> None:
    """Replace the passes and batches of a rollout, as the defaults, PPO's tuned settings or a budget have them, by one update.

    Raises:
        ConfigError: the user asked for more.
    """
    for key in ONLY_ROLLOUTS:
        name = key.rpartition(".")[2]
        if key in user and replay[name] != 1:
            raise ConfigError(
                f"{key}={replay[name]} does not go with agent/surrogate=plain (agent.surrogate.clip=null), because its gradient holds only "
                "for the policy that collected the rollout: leave it out, or choose agent/surrogate=clipped."
            )
        replay[name] = 1


def choose_rollout(config: dict[str, Any], user: set[str]) -> None:
    """Replace `replay=auto` by a rollout if the agent learns from rollouts, and by none if it plans from statistics of its own.

    Args:
        user: keys that the command line set.

    Raises:
        ConfigError: the user set a key that has no meaning with this replay, or chose none for an agent that learns from one.
    """
    replay = config["replay"]
    if resolve(replay["_target_"], "replay", None) is Auto:
        passes = {name: replay.pop(name) for name in ("epochs", "minibatches")}
        if learns_from(config, "stream"):
            config["replay"] = {"_target_": f"{NoReplay.__module__}.NoReplay", "_partial_": True}
        if learns_from(config, "rollout"):
            usual = PLAIN_LENGTH if plain(config) else LENGTH
            length = usual if replay["length"] is None else replay["length"]
            config["replay"] = {"_target_": f"{Rollout.__module__}.Rollout", "_partial_": True, "length": length, **passes}
        elif "replay.length" in user and not learns_from(config, "sequences"):
            raise ConfigError(
                "replay.length has no meaning here, because this agent learns from neither sequences nor rollouts: leave it out, or choose "
                "a backup that learns from sequences, such as agent/backup=retrace."
            )
    if learns_nothing(config):
        if not learns_from(config, "stream"):
            raise ConfigError(f"agent={config['names']['agent']} learns from transitions, and replay=none keeps none: leave it out.")
        for key in (*REPLACED, *ONLY_ROLLOUTS, "replay.length"):
            if key in user:
                raise ConfigError(f"{key} has no meaning here, because this agent plans and makes no updates: leave it out.")
        config["learning_starts"] = 0
        return
    if "epochs" in config["replay"] and resolve(config["replay"]["_target_"], "replay", None) is not Auto:
        for key in ("length", "epochs", "minibatches"):  # here, because the update count below is made of them
            if not isinstance(value := config["replay"][key], int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"replay.{key}={value!r} is out of range: it takes a whole number of at least 1.")
    rollouts = rollout_updates(config) is not None
    if rollouts and plain(config):
        one_update(config["replay"], user)
    for key in REPLACED if rollouts else ONLY_ROLLOUTS:
        if key in user:
            learns = (
                "from rollouts, of which replay.length, .epochs and .minibatches say when and how much" if rollouts else "from no rollouts"
            )
            raise ConfigError(f"{key} has no meaning here, because this agent learns {learns}: leave it out.")
    if rollouts:
        for name, schedule in (get(config, "agent.explore", None) or {}).items():
            begins = isinstance(schedule, dict) and schedule.get("begin") == config["learning_starts"]
            if begins and f"agent.explore.{name}.begin" not in user:
                schedule["begin"] = 0  # exploration falls from where learning starts
        config["learning_starts"] = 0


def refuse_single_rows(config: dict[str, Any]) -> None:
    """
    Raises:
        ConfigError: each batch is one row, and the advantages of a batch are divided by their deviation, which one row does not have.
    """
    if rollout_updates(config) is None or not get(config, "agent.surrogate.normalize", False):
        return
    rows, count = replay_rows(config), config["replay"]["minibatches"]
    if rows // count == 1:
        raise ConfigError(
            f"replay.minibatches={count} leaves one row for each batch, because a rollout has {rows}. Advantages are divided by the "
            "deviation of a batch, which one row does not have: choose fewer, a longer rollout, or agent.surrogate.normalize=false."
        )


def record_ratio(config: dict[str, Any]) -> None:
    """Write the updates for each step of rollouts into `replay_ratio`, for readers of the configuration; training does not read it. The
    number of environments must be final."""
    updates = rollout_updates(config)
    if updates is not None:
        config["replay_ratio"] = updates / replay_rows(config)
