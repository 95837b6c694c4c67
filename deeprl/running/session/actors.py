"""The collector of a run whose actors collect, and that of an actor in its own process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.replay.source import Source
from deeprl.running.accelerate import modes
from deeprl.running.collect.choice import OnRay
from deeprl.running.collect.cluster import Cluster
from deeprl.running.collect.collector import Actors, RemoteCollector
from deeprl.running.config.build import build_agent, environment
from deeprl.running.config.instantiate import Allowed
from deeprl.running.runs.config_file import Config
from deeprl.running.training.collector import Collector
from deeprl.running.training.learner import CompiledLearner, Learner
from deeprl.system.functions import GIVEN, unimportable
from deeprl.system.terminal import say
from deeprl.types import Batch, Rows


def remote_collector(config: Config, agent: Agent, source: Source, actors: Callable[[], Actors]) -> RemoteCollector:
    """The collector of a run whose actors collect.

    Args:
        actors: starts them, which may take minutes.

    Raises:
        ConfigError: a checkpoint of the run would not hold what it needs.
    """
    if source.chunk(config["replay"]) is not None and not config["checkpoint"]["replay"]:
        raise ConfigError(
            "checkpoint.replay=false does not go with rollouts of actors, because a resumed run would begin a rollout within a chunk: "
            "leave it out."
        )

    def truncate_episode(environment: int) -> None:
        if not source.truncate_episode(environment):
            agent.rewards.truncate_episode(environment)

    return RemoteCollector(agent, actors(), source.append, truncate_episode)


def actors_of(config: Config, choice: OnRay, cluster: Cluster | None, allowed: Allowed, check_stop: Callable[[], None]) -> Actors:
    """The actors of a run, once all of them are ready.

    Raises:
        ConfigError: this command has no cluster.
    """
    if cluster is None:
        raise ConfigError("collect=ray is for training, and this command starts no actors: leave it out here.")
    late = (1 + choice.ahead) * choice.ticks * choice.num
    say(f"collect: {choice.actors} actors with {choice.envs} environments each; their weights are up to {late:,} steps old")
    # a copy, because successors of actors must compute as they did, also if the learner changes its mode
    config, functions = copy.deepcopy(config), unimportable(str(config["env"].get("function")))
    return Actors(choice, cluster, lambda index: partial(collector_of_actor, config, allowed, functions, choice.envs, index), check_stop)


def collector_of_actor(
    config: Config, allowed: Allowed, functions: dict[str, Any], num: int, index: int, append: Callable[[Rows], None]
) -> Collector:
    """The collector of one actor, in its own process. It computes on the CPU.

    Args:
        config: after `decide_computation`.
        functions: see `unimportable`.
        num: environments of the actor.
        index: of the actor, from 0.
    """
    GIVEN.update(functions)
    config = {**config, "device": "cpu"}
    env, spec = environment(config, allowed)
    agent = build_agent(config, spec, allowed)
    modes.apply(agent, modes.form(config))
    compiled = config["accelerate"]["mode"] == "compiled"
    learner = CompiledLearner(agent, batch_as_it_is, print) if compiled else Learner(agent, batch_as_it_is)
    envs = env.make(config["seed"], num=num, first=index * num)
    envs.replay_actions = config["checkpoint"]["replay_actions"]
    return Collector(agent, learner.act, envs, append, config["seed"])


def batch_as_it_is(batch: Batch) -> Batch:
    return batch
