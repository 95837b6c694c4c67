"""Refusals of sources of data that do not go with the rest of a configuration."""

from __future__ import annotations

from deeprl.errors import ConfigError
from deeprl.running.config.instantiate import resolve
from deeprl.running.config.rules import get
from deeprl.running.config.sources import chunk, source_class
from deeprl.running.runs.config_file import Config


def learns_from(config: Config, what: str) -> bool:
    """Whether the agent of a configuration, or its backup, needs "sequences", "rollout" or "stream"."""
    targets = {path: get(config, f"{path}._target_") for path in ("agent", "agent.backup")}
    return any(what in getattr(resolve(target, path, None), "needs", ()) for path, target in targets.items() if target is not None)


def check_source(config: Config, user: set[str]) -> None:
    """
    Args:
        config: with its final numbers.
        user: keys that the command line set.

    Raises:
        ConfigError: nothing is kept for an agent that learns; a rollout has sizes that are none, more updates than its loss allows, or
            batches of one row, whose advantages have no deviation to be divided by.
    """
    replay, paced, rollout = config["replay"], source_class(config).paced_by, chunk(config)
    if not paced and not learns_from(config, "stream"):
        raise ConfigError(f"agent={config['names']['agent']} learns from transitions, and replay=none keeps none: leave it out.")
    if (not paced or rollout is not None) and "runtime.lag" in user:
        raise ConfigError("runtime.lag has no meaning here, because this agent does not learn while it acts: leave it out.")
    if rollout is None:
        return
    for key in ("length", "epochs", "minibatches"):  # here, because the number of updates is made of them
        if not isinstance(value := replay[key], int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"replay.{key}={value!r} is out of range: it takes a whole number of at least 1.")
    if get(config, "agent.surrogate.clip", 0.0) is None and replay["epochs"] * replay["minibatches"] > 1:
        raise ConfigError(
            f"replay.epochs={replay['epochs']} replay.minibatches={replay['minibatches']} do not go with agent.surrogate.clip=null "
            "(agent/surrogate=plain), because its gradient holds only for the policy that collected the rollout: choose "
            "replay=rollout_once, or agent/surrogate=clipped."
        )
    rows, count = rollout * config["env"]["num"], replay["minibatches"]
    if rows // count == 1 and get(config, "agent.surrogate.normalize", False):
        raise ConfigError(
            f"replay.minibatches={count} leaves one row for each batch, because a rollout has {rows}. Advantages are divided by the "
            "deviation of a batch, which one row does not have: choose fewer, a longer rollout, or agent.surrogate.normalize=false."
        )
