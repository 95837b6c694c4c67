"""From a configuration to a trainer: every part of a run is built here."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.learning.networks.blocks import Block
from deeprl.replay.sequences import Sequences
from deeprl.replay.source import Source
from deeprl.running.accelerate import modes
from deeprl.running.accelerate.graph import has_compiler
from deeprl.running.collect.choice import OnRay, chosen
from deeprl.running.collect.cluster import Cluster
from deeprl.running.collect.collector import Actors, RemoteCollector
from deeprl.running.config.build import build_agent, check_actions, check_device, check_replay, environment, require_model
from deeprl.running.config.dry_run import dry_run, require_timeless
from deeprl.running.config.instantiate import Allowed, Deferred, instantiate
from deeprl.running.config.sources import build_source, planned_updates, source_class
from deeprl.running.config.stateless import contents, require_stateless
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.costs import tell_first_phase, tell_scale, tell_width
from deeprl.running.session.needs import can_compile, require_compiler, require_packages
from deeprl.running.session.prior import load_prior
from deeprl.running.session.warm_start import warm_start
from deeprl.running.training import distributed, saving
from deeprl.running.training.collector import Collector
from deeprl.running.training.device_collector import DeviceCollector, on_device
from deeprl.running.training.idle import Idle
from deeprl.running.training.learner import CompiledLearner, Learner
from deeprl.running.training.trainer import Trainer
from deeprl.system.functions import GIVEN, unimportable
from deeprl.system.machine import flush_denormals, keep_memory
from deeprl.system.ranks import ALONE, Ranks
from deeprl.system.terminal import say
from deeprl.types import Batch, Rows, Spec

MACHINE_THREADS = torch.get_num_threads()
"""Number of threads that torch chose, before any run of this process changes it."""
UNROLLED = 32
"""Rows of a sequence up to which `accelerate=auto` compiles the unroll of a core, because each row is code of its own. With 16 rows R2D2
makes 482 steps a second, in place of 142, after 39 s of compilation: `deeprl check agent=r2d2 env=classic/cartpole_positions
replay.length=16 runtime.threads=1 accelerate=compiled`, and `fast`."""
WORTH_THREADS = 256
"""Width of a layer from which several threads are used. They make smaller networks slower, and much slower when the cores are busy."""


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
    distributed.refuse(config, agent, ranks)
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
        ConfigError: the machine has too little memory for it, it exchanges goals, and the environment has none, or it asks the environment
            for its rule of terminations, which is none.
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
    try:
        room = found.room()
    except ValueError as error:
        raise ConfigError(f"replay.{error}.") from error
    if room:
        say(f"replay: {room}")
    return found


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
        source.truncate_episode(environment)
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


def go_on_without_compiler(config: Config, resumed: bool) -> None:
    """Replace the compiled mode of a run that has a checkpoint, on a machine that has no compiler, because a job that is queued again
    cannot choose its machine. Ranks must have one mode, so that theirs stays."""
    if resumed and config["accelerate"]["mode"] == "compiled" and not can_compile(config):
        say("this machine has no C++ compiler, so this run goes on with accelerate=fast: from here on its last bits may differ")
        config["accelerate"]["mode"] = "fast"


def decide_computation(config: Config, agent: Agent, updates: int, on_device: bool = False) -> bool:
    """Decide `accelerate.mode`, `accelerate.matmul_precision` and the number of threads by fixed rules, and write them into the
    configuration. A resumed run reads them there.

    Args:
        updates: of the whole run.
        on_device: whether rollouts are collected on the device, so that their batches have many rows.

    Returns:
        Whether the mode was chosen here. Such a mode may be replaced if it does not work.

    Raises:
        ConfigError: the mode or the product is unknown, or the mode needs a compiler and this machine has none.
    """
    chosen = config["accelerate"]
    automatic = chosen["mode"] == "auto"
    if automatic:
        chosen["mode"], _ = automatic_mode(config, agent, updates, on_device)
    if chosen.get("matmul_precision", "auto") == "auto":
        stack = max((getattr(block, "n", 1) for block in blocks_of(agent)), default=1)
        rows = config["replay"]["length"] * config["env"]["num"] // config["replay"]["minibatches"] if on_device else 1
        on_cpu = str(config["device"]).startswith("cpu")
        chosen["matmul_precision"] = modes.product(stack, widest(agent), rows=rows) if on_cpu else "highest"
    try:
        modes.apply(agent, modes.form(config))
        modes.set_products(agent, chosen["matmul_precision"])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    require_compiler(config)
    if config["runtime"]["threads"] is None:
        config["runtime"]["threads"] = MACHINE_THREADS if widest(agent) >= WORTH_THREADS else 1
    return automatic


def automatic_mode(config: Config, agent: Agent, updates: int, on_device: bool) -> tuple[str, str]:
    """Mode that `accelerate=auto` takes, and the reason. Arguments are those of `decide_computation`."""
    rows = config["replay"].get("length", 1) + config["replay"].get("burn_in", 0)
    long = f"the unroll of {rows} rows, more than {UNROLLED}, compiles for minutes" if agent.state_size and rows > UNROLLED else ""
    obstacle = long if has_compiler() else "there is no C++ compiler"
    return modes.choose(updates, str(config["device"]), obstacle, config["steps"] // config["env"]["num"] if on_device else 0)


def blocks_of(agent: Agent) -> list[Block]:
    return [module for module in agent.modules() if isinstance(module, Block)]


def widest(agent: Agent) -> int:
    """Width of the agent's widest layer, inputs included."""
    return max((max(getattr(block, "sizes", (1,))) for block in blocks_of(agent)), default=1)


def learner_for(config: Config, agent: Agent, batch: Callable[[Any], Batch], folder: RunFolder, automatic: bool, ranks: Ranks) -> Learner:
    """The learner for `accelerate.mode`, which `decide_computation` has decided.

    Args:
        batch: function from a draw of the replay to a batch.
        folder: run folder. Its config.yaml is written again if an automatic mode does not work.
        automatic: whether `decide_computation` chose the mode.
    """
    chosen = config["accelerate"]
    if chosen["mode"] != "compiled":
        return Learner(agent, batch, ranks)

    gpu = modes.on_gpu(config)
    other = "reference" if gpu else "fast"

    def failed(error: Exception) -> None:
        how = "recorded as a CUDA graph" if gpu else "compiled"
        why = (str(error).strip().splitlines() or [""])[0]
        say(f"the update could not be {how} ({type(error).__name__}: {why}), so this run goes on with accelerate={other}")
        chosen["mode"] = other
        modes.apply(agent, other)
        if ranks.first:
            folder.write_config(config)

    return CompiledLearner(agent, batch, failed if automatic or gpu else None, ranks=ranks)
