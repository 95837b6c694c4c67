"""Where data is collected: the key `collect`."""

from __future__ import annotations

from dataclasses import dataclass

from deeprl.choice import Choice, counts, in_range
from deeprl.errors import ConfigError
from deeprl.running.config.instantiate import Allowed, instantiate
from deeprl.running.config.rules import get
from deeprl.running.config.sources import chunk, source_class
from deeprl.running.runs.config_file import Config


@dataclass(frozen=True)
class Here(Choice):
    """In the process that learns."""


@dataclass(frozen=True)
class OnRay(Choice):
    """In N actors of a Ray cluster with M environments each, see `deeprl.running.collect.collector`.

    With n updates a step, actors act with weights that are at most (1 + ahead) * ticks * N * M * n updates older than those of a run
    that collects in its own process.

    `deeprl.running.session.assemble` puts `RemoteCollector` in place of the collector, and `Actors` in place of its environments; nothing
    else of the run differs. `env.num` becomes N·M.
    """

    actors: int = 2
    """N"""
    envs: int = 1
    """M"""
    ticks: int = 64
    """Steps of each environment in a chunk"""
    ahead: int = 1
    """Chunks of each actor that are collected while the learner works on earlier ones"""
    address: str | None = None
    """Of a cluster; None starts Ray on this machine"""
    timeout: float = 300.0
    """Seconds after which an actor that sends no chunk counts as dead"""
    restarts: int = 100
    """Actors that may be replaced in a row"""

    def __post_init__(self):
        counts(self, actors=1, envs=1, ticks=1, ahead=0, restarts=0)
        in_range(self, timeout=(1, None))

    @property
    def num(self) -> int:
        """Environments of all actors."""
        return self.actors * self.envs


def chosen(config: Config, allowed: Allowed = None) -> Here | OnRay:
    """The choice of a configuration. Runs of before the key existed collect here.

    Raises:
        ConfigError: the key has a wrong value.
    """
    found = instantiate(config["collect"], "collect", allowed) if "collect" in config else Here()
    if not isinstance(found, Here | OnRay):
        raise ConfigError(f"collect={config['collect']!r:.100} is no way to collect: it takes here or ray.")
    return found


def complete_collect(config: Config, user: set[str]) -> None:
    """Fill the automatic keys of `collect`, and set `env.num` to the environments of all actors.

    Raises:
        ConfigError: another key of the configuration does not go with actors.
    """
    node, length = config["collect"], chunk(config)
    if "ticks" in node:
        node["ticks"] = node["ticks"] if node["ticks"] is not None else length or 64
        node["ahead"] = node["ahead"] if node["ahead"] is not None else int(length is None)
    found = chosen(config)
    if not isinstance(found, OnRay):
        return
    if "env.num" in user and config["env"]["num"] != found.num:
        raise ConfigError(
            f"env.num={config['env']['num']} does not go with collect.actors={found.actors} and collect.envs={found.envs}, which are"
            f" {found.num} environments: leave env.num out."
        )
    source = source_class(config)
    if not source.collects:
        raise ConfigError(
            f"collect=ray has nothing to collect, because replay={config['names']['replay']} steps no environment: leave it out."
        )
    if not source.paced_by:
        raise ConfigError("collect=ray is for agents that learn from a replay or from rollouts: leave it out.")
    if source.one_policy:
        raise ConfigError(
            f"collect=ray does not go with replay={config['names']['replay']}, whose batches end where the learner decides: leave it out."
        )
    if get(config, "replay.offline_steps", 0):
        raise ConfigError("replay.offline_steps does not go with collect=ray, whose actors count steps from their first: leave one out.")
    if config["runtime"].get("lag"):
        raise ConfigError("runtime.lag=1 has no meaning beside collect=ray, whose actors act while the learner works: leave it out.")
    if length is not None and (found.ahead or found.ticks != length):
        raise ConfigError(
            f"collect.ahead={found.ahead} and collect.ticks={found.ticks} do not go with rollouts, which one policy collects as a whole: "
            f"take collect.ahead=0 and collect.ticks={length}, or leave both out."
        )
    config["env"]["num"] = found.num
