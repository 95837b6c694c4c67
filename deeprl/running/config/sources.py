"""What a configuration says of its source, the slot `replay`, before that is built."""

from __future__ import annotations

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.replay.source import Source
from deeprl.running.config.instantiate import Allowed, Deferred, resolve
from deeprl.running.runs.config_file import Config
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


def build_source(config: Config, spec: Spec, agent: Agent, make: Deferred, **own: object) -> Source:
    """The source, without rows.

    Args:
        make: the source, without its arguments.
        own: arguments in place of those that the configuration has.
    """
    if "state" in agent.needs:
        own["state_size"] = agent.state_size
    return make(
        spec=spec,
        num=config["env"]["num"],
        discount=config["discount"],
        rewards=agent.rewards,
        needs=agent.needs,
        batch_device=config["device"],
        **own,
    )


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
