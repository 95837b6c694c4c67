"""What a configuration says of its source, the slot `replay`, before that is built."""

from __future__ import annotations

from typing import Any

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.learning.parts.divergence import Divergence
from deeprl.noise import initial_seed
from deeprl.replay.source import Source
from deeprl.running.config.instantiate import Allowed, Deferred, resolve
from deeprl.running.config.rules import get
from deeprl.running.runs.config_file import Config
from deeprl.system import generators
from deeprl.types import Spec


def source_class(config: Config, allowed: Allowed = None) -> type[Source]:
    """The class of the source.

    Args:
        allowed: packages that it may come from; None allows all, for a configuration from the user's own command line.

    Raises:
        ConfigError: there is no such class, or it is no source.
    """
    target = config["replay"].get("_target_")
    found = resolve(target, "replay", allowed)
    if not issubclass(found, Source):
        raise ConfigError(f"replay._target_={target} is no source of data: `deeprl list replay` shows them.")
    return found


def build_source(config: Config, spec: Spec, agent: Agent, make: Deferred, **own: Any) -> Source:
    """The source, without rows.

    Args:
        make: the source, without its arguments.
        own: arguments in place of those that the configuration has.
    """
    if "state" in agent.needs:
        own["state_size"] = agent.state_size
    if make.cls.imagines:  # type: ignore[attr-defined]
        own["agent"] = agent
    with generators.seeded(initial_seed(config["seed"], "source")):
        source = make(
            spec=spec,
            num=config["env"]["num"],
            discount=config["discount"],
            rewards=agent.rewards,
            needs=agent.needs,
            batch_device=config["device"],
            **own,
        )
    source.before_pass = agent.before_pass
    return source


def planned_updates(config: Config, cls: type[Source] | None = None) -> int:
    """Number of gradient updates of a run. It ends at `steps`, rounded up to a multiple of `env.num`.

    Args:
        cls: of the source; None: that of the configuration, which is the user's own.
    """
    cls = cls or source_class(config)
    return cls.planned(config["replay"], config["steps"], config["env"]["num"])


def update_ratio(config: Config) -> float:
    """Updates for each step, once learning has started."""
    return source_class(config).ratio_of(config["replay"], config["env"]["num"])


def chunk(config: Config) -> int | None:
    """Steps of each environment that one policy collects as a whole: the length of a rollout; None with other sources."""
    return source_class(config).chunk(config["replay"])


def check_source(config: Config) -> None:
    """
    Args:
        config: with its final numbers.

    Raises:
        ConfigError: nothing is kept for an agent that learns; a size is none, or a rollout has more updates than its loss allows, fewer
            than its bound of the KL needs, or batches of one row, whose advantages have no deviation to be divided by.
    """
    replay, paced, rollout = config["replay"], source_class(config).paced_by, chunk(config)
    if not paced and "stream" not in getattr(resolve(config["agent"]["_target_"], "agent", None), "needs", ()):
        raise ConfigError(f"agent={config['names']['agent']} learns from transitions, and replay=none keeps none: leave it out.")
    if (not paced or rollout is not None or source_class(config).one_policy) and get(config, "runtime.lag", 0):
        raise ConfigError(
            "runtime.lag has no meaning here, because this agent does not learn while it acts: leave it out, or set runtime.lag=0 where "
            "a file has it."
        )
    for key, least in source_class(config).counted.items():  # here, because the number of updates is made of them, or the mode
        if not isinstance(value := replay.get(key, least), int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"replay.{key}={value!r} is out of range: it takes a whole number of at least {least}.")
    if rollout is None:
        return
    target = get(config, "agent.surrogate._target_")
    one = target is not None and getattr(resolve(target, "agent.surrogate", None), "one_update", False)
    if one and replay["epochs"] * replay["minibatches"] > 1:
        raise ConfigError(
            f"replay.epochs={replay['epochs']} replay.minibatches={replay['minibatches']} do not go with agent/surrogate=plain, because "
            "its gradient holds only for the policy that collected the rollout: choose replay=rollout_once, or agent/surrogate=clipped."
        )
    target = get(config, "agent.kl._target_")
    kl = Divergence if target is None else resolve(target, "agent.kl", None)
    if issubclass(kl, Divergence) and not kl.acts(replay["epochs"], replay["minibatches"]):
        raise ConfigError(
            f"agent/kl changes nothing with replay.epochs={replay['epochs']} replay.minibatches={replay['minibatches']}, because the KL is "
            "measured before each update, and read before the next pass: leave it out, or raise replay.epochs where agent/surrogate "
            "allows it."
        )
    rows, count = rollout * config["env"]["num"], replay["minibatches"]
    if rows // count == 1 and get(config, "agent.surrogate.normalize", False):
        raise ConfigError(
            f"replay.minibatches={count} leaves one row for each batch, because a rollout has {rows}. Advantages are divided by the "
            "deviation of a batch, which one row does not have: choose fewer, a longer rollout, or agent.surrogate.normalize=false."
        )
