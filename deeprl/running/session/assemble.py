"""From a configuration to a trainer: every part of a run is built here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.replay.sequences import Sequences
from deeprl.running.accelerate import modes
from deeprl.running.collect.choice import OnRay, chosen
from deeprl.running.collect.cluster import Cluster
from deeprl.running.collect.collector import RemoteCollector
from deeprl.running.config.build import build_agent, check_actions, check_device, check_replay, environment, require_model
from deeprl.running.config.dry_run import dry_run, require_timeless
from deeprl.running.config.instantiate import Allowed, Deferred, instantiate
from deeprl.running.config.sources import build_source, planned_updates, source_class
from deeprl.running.config.stateless import contents, require_stateless
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.actors import actors_of, remote_collector
from deeprl.running.session.computation import decide_computation, go_on_without_compiler, learner_for
from deeprl.running.session.costs import tell_first_phase, tell_scale, tell_width
from deeprl.running.session.needs import require_packages
from deeprl.running.session.prior import load_prior
from deeprl.running.session.warm_start import warm_start
from deeprl.running.training import distributed, saving
from deeprl.running.training.collector import Collector
from deeprl.running.training.device_collector import DeviceCollector, on_device
from deeprl.running.training.idle import Idle
from deeprl.running.training.trainer import Trainer
from deeprl.system.machine import flush_denormals, keep_memory
from deeprl.system.ranks import ALONE, Ranks
from deeprl.system.terminal import say
from deeprl.types import Spec


def assemble(
    config: Config,
    folder: RunFolder,
    allowed: Allowed = None,
    watched: Callable[[Any], Any] = lambda part: part,
    cluster: Cluster | None = None,
    ranks: Ranks = ALONE,
    check_stop: Callable[[], None] = lambda: None,
) -> Trainer:
    """Build every part of a run. Writes the number of threads, the mode, the float32 product and the step of `init_from` into `config`.

    Args:
        allowed: packages that the configuration may name; None allows all, for a configuration from the user's own command line.
        watched: called with the learner, the environments and the replay; the trainer gets its results. `deeprl check` measures the calls.
        cluster: where actors collect, if `collect` says so.
        ranks: the processes of the run.
        check_stop: called while actors are waited for, see `Actors`.

    Raises:
        ConfigError: the parts do not fit together, or the machine lacks something that they need.
    """
    set_up_process(config)
    stored = Checkpoints(folder.path)
    env, spec, agent, make_replay = fitted(config, allowed, stored.largest("agent") if allowed is not None and stored.steps() else None)
    require_packages(config, env)
    go_on_without_compiler(config, bool(stored.steps()) and ranks.size == 1)
    choice = chosen(config, allowed)
    elsewhere = "collect=ray" if isinstance(choice, OnRay) else "the run has several processes" if ranks.size > 1 else ""
    there = on_device(config, env, agent, make_replay.cls, elsewhere)
    automatic = decide_computation(config, agent, planned_updates(config, make_replay.cls), there is not None)
    distributed.refuse(config, agent, make_replay.cls, ranks)
    torch.set_num_threads(config["runtime"]["threads"])
    if modes.on_gpu(config):
        modes.convolve_as(config)
    before = contents(agent=agent, env=env)
    dry_run(agent, spec, config["device"], issubclass(make_replay.cls, Sequences))
    require_stateless(before, agent=agent, env=env)
    if config["accelerate"]["mode"] == "compiled":
        require_timeless(agent, spec, config["device"], issubclass(make_replay.cls, Sequences))
    tell_width(config, agent)
    tell_scale(agent, spec)
    tell_first_phase(agent, planned_updates(config, make_replay.cls))
    if config.get("init_from") and not stored.steps():  # a checkpoint of this run has later weights
        config["init_from"] = warm_start(agent, config["init_from"])
    if not stored.steps():
        load_prior(agent, config)
    source = empty_source(config, env, spec, agent, make_replay, ranks, **({} if there is None else {"on_device": True}))
    parts = folder.path if ranks.first else folder.path / "ranks" / str(ranks.rank)
    checkpoints = Checkpoints(
        parts, config["checkpoint"]["keep"], max(saving.SEGMENT_BYTES, source.bytes // 256), clean_later=not ranks.first
    )

    learner, source = watched(learner_for(config, agent, source.batch, folder, automatic, ranks)), watched(source)
    collector: Collector | DeviceCollector | RemoteCollector | Idle
    if there is not None:
        products = modes.precision(config["accelerate"]["matmul_precision"])
        collector = DeviceCollector(agent, learner.compute, there, source, config["seed"], products)
    elif not source.collects:
        collector = Idle(config["env"]["num"])
    elif isinstance(choice, OnRay):
        actors = partial(actors_of, config, choice, cluster, allowed, check_stop)
        collector = remote_collector(config, agent, source, actors)
    else:
        envs = env.make(config["seed"], first=ranks.rank * config["env"]["num"])
        envs.replay_actions = config["checkpoint"]["replay_actions"]
        if source.cuts and not envs.backend.one_by_one:
            raise ConfigError(
                f"replay={config['names']['replay']} ends episodes, and {env.name} resets all environments together: "
                "choose env.vector=sync."
            )
        cut = source.cut if source.cuts else None
        collector = Collector(agent, learner.act, watched(envs), source.append, config["seed"], config["device"], cut)
    return Trainer(config, learner, collector, source, env.make_evaluation, folder, checkpoints, ranks)


def set_up_process(config: Config) -> None:
    """Settings of torch and of the machine that hold for the whole process, and must stand before the first tensor.

    Raises:
        ConfigError: `device` is not there.
    """
    if config["runtime"]["deterministic"] or modes.on_gpu(config):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it once, at its first use in any run of the process
    # only for a change, because the call imports the compiler
    if config["runtime"]["deterministic"] != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(config["runtime"]["deterministic"])
    check_device(config)
    keep_memory()
    flush_denormals()


def empty_source(config: Config, env: Any, spec: Spec, agent: Agent, make_replay: Deferred, ranks: Ranks, **own: Any) -> Any:
    """The source, without rows.

    Args:
        make_replay: of `fitted`.
        own: arguments of this kind of source.

    Raises:
        ConfigError: the machine has too little memory for it; a resume would need its rows, and `checkpoint.replay` is false; it exchanges
            goals, and the environment has none; or it asks the environment for its rule of terminations, which is none.
    """
    own |= distributed.shard(config["replay"], ranks)
    if make_replay.cls.relabels:  # type: ignore[attr-defined]
        try:
            own["goals"] = env.goals()
        except (ValueError, NotImplementedError) as error:
            raise ConfigError(
                f"replay={config['names']['replay']} needs an environment with goals: {error}. Such is env=goals/reach."
            ) from error
    if make_replay.cls.imagines:  # type: ignore[attr-defined]
        try:
            own["terminates"] = env.terminates() if hasattr(env, "terminates") else None
        except ValueError as error:
            raise ConfigError(f"replay={config['names']['replay']} asks {env.name} when it terminates: {error}.") from error
    found = build_source(config, spec, agent, make_replay, **own)
    if found.needs_rows and not config["checkpoint"]["replay"]:
        raise ConfigError(f"checkpoint.replay=false does not go with replay.{found.needs_rows}: leave checkpoint.replay=true.")
    try:
        room = found.room()
    except ValueError as error:
        raise ConfigError(f"replay.{error}.") from error
    if room:
        say(f"replay: {room}")
    return found


def fitted(config: Config, allowed: Allowed = None, saved: int | None = None) -> tuple[Any, Spec, Agent, Deferred]:
    """The parts of a run that must go together: the environment, its `Spec`, the agent, and the replay without its arguments.

    Args:
        saved: as in `build_agent`.

    Raises:
        ConfigError: a part cannot be built, or two parts do not go together.
    """
    env, spec = environment(config, allowed, trains=True)
    check_actions(config, spec, allowed)
    agent = build_agent(config, spec, allowed, saved)
    source_class(config, allowed)
    make_replay = replace(instantiate({**config["replay"], "_partial_": True}, "replay", allowed), option=config["names"]["replay"])
    check_replay(config, agent, make_replay)
    if allowed is None:  # a stored run goes on as it began
        require_model(config, make_replay)
    return env, spec, agent, make_replay
