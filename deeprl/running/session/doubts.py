"""What looks wrong in a run before its first step: facts of its parts that a user may not intend, each as one sentence with its key and a
remedy. A run says them when it begins; `deeprl check` adds what it measures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from deeprl.learning.agent import Agent
from deeprl.replay.source import Source
from deeprl.running.config.rules import get
from deeprl.running.config.sources import planned_updates
from deeprl.running.runs.config_file import Config
from deeprl.running.training.trainer import Trainer
from deeprl.system.machine import available_memory, usable_cores
from deeprl.system.terminal import say

FEW_TARGETS = 10
"""Updates of the target networks below which a run hardly iterates the Bellman operator"""
FAR = 10.0
"""Ratio of two quantities of the same kind from which they count as far apart"""
MOST_MEMORY = 0.8
"""Share of the free memory above which networks, environments and evaluations may find too little"""
Found = Iterator[tuple[str, str]]


class Suspicion(NamedTuple):
    key: str
    text: str


class Target(NamedTuple):
    """A period of the target networks."""

    key: str
    value: float
    updates: float
    """Updates of the target networks by this key after `learning_starts`. A soft update with rate τ counts as τ updates"""


@dataclass(frozen=True)
class Prospect:
    """What is known of a run without a step of it. Memory in bytes."""

    config: Config
    updates: int
    """Gradient updates that the whole run makes"""
    targets: tuple[Target, ...]
    average_reward: bool
    """The agent learns the rate of reward, without a discount"""
    sequences: bool
    """The agent learns from sequences of `replay.length`"""
    limit: int | None
    """Steps after which an episode is truncated"""
    replay: int
    """Of a full replay"""
    available: int | None
    """Free memory of the machine"""
    disk: int
    """All checkpoints that are kept, with a full replay if they hold one"""
    disk_available: int
    cores: int
    seen: float | None = None
    """Mean length of episodes; None: none was seen"""

    @property
    def episode(self) -> float | None:
        """Length of an episode: the time limit, because the policy is untrained; without one the mean of those seen."""
        return self.limit if self.limit is not None else self.seen


def tell_doubts(trainer: Trainer) -> None:
    """Say what looks wrong in a run that begins, a line each. One without updates is not judged."""
    if not trainer.source.paced_by:
        return
    for doubt in doubts(prospect(trainer)):
        say(doubt.text.removesuffix("."))


def doubts(run: Prospect) -> list[Suspicion]:
    return [Suspicion(key, text) for find in FINDERS for key, text in find(run)]


# ---- facts


def prospect(trainer: Trainer) -> Prospect:
    config, agent, source = trainer.config, trainer.agent, trainer.source
    state = size(agent.state_dict().values())
    return Prospect(
        config=config,
        updates=planned_updates(config),
        targets=targets(config, agent),
        average_reward=averages(agent),
        sequences=sequences(agent),
        limit=limit(trainer.envs),
        replay=source.bytes + source.working,
        available=available_memory(),
        disk=disk_needed(config, source, state + optimizer_bytes(agent)),
        disk_available=disk_available(trainer.folder.path),
        cores=usable_cores(),
    )


def limit(envs: Any) -> int | None:
    """Time limit of the environments that a run steps in its process, or as a function of tensors."""
    part = getattr(envs, "backend", None) or getattr(envs, "world", None)
    return getattr(part, "limit", None)


def averages(agent: Agent) -> bool:
    return bool(getattr(getattr(agent, "rate", None), "learned", False))


def size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def optimizer_bytes(agent: Agent) -> int:
    return size(tensor for objective in agent.objectives.values() for tensor in objective.optimizer.tensors())


def disk_needed(config: Config, source: Source, each: int) -> int:
    """
    Args:
        each: bytes of a checkpoint beside the rows.
    """
    rows = min(source.capacity, config["steps"])
    stored = source.bytes * rows // source.capacity if config["checkpoint"]["replay"] and source.capacity else 0
    return each * (config["checkpoint"]["keep"] + 2) + stored  # the best, and a new one before an old one goes


def disk_available(root: Path) -> int:
    place = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    return shutil.disk_usage(place).free


def targets(config: Config, agent: Agent) -> tuple[Target, ...]:
    """How often target networks follow. A period of the chain is named `sync` or `shift`; its key is `sync_period`, or that of DQN."""
    chain, steps = get(config, "agent.chain", {}), max(config["steps"] - get(config, "replay.learning_starts", 0), 0)
    found = []
    for name, period in agent.clock.periods.items():
        key = next((key for key in (f"{name}_period", "target_update_period") if key in chain), None)
        if key is not None:
            found.append(Target(f"agent.chain.{key}", period, steps // period))
    if "tau" in chain and not agent.clock.periods:
        updates = planned_updates(config) // getattr(agent, "target_period", 1)
        found.append(Target("agent.chain.tau", chain["tau"], updates * chain["tau"]))
    return tuple(found)


def sequences(agent: Agent) -> bool:
    """Whether the agent learns from sequences."""
    return "sequences" in agent.needs


# ---- doubts


def setting(config: Config, key: str) -> str:
    """`key=value` of a configuration."""
    return f"{key}={shown(get(config, key))}"


def shown(value: object) -> str:
    """A value as on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def replay_memory(run: Prospect) -> Found:
    config = run.config
    capacity = get(config, "replay.capacity")
    if capacity is None:  # what it holds is as large as its updates ask
        return
    used = run.replay * min(config["steps"] / capacity, 1.0)
    if run.available is not None and used > MOST_MEMORY * run.available:
        yield (
            "replay.capacity",
            f"{setting(config, 'replay.capacity')} takes {used / 1e9:.1f} of {run.available / 1e9:.1f} GB of free memory: lower "
            f"replay.capacity to {int(MOST_MEMORY * run.available / run.replay * capacity):,}, or free memory.",
        )


def disk(run: Prospect) -> Found:
    if run.disk > run.disk_available:
        yield (
            "checkpoint.replay",
            f"Checkpoints need up to {run.disk / 1e9:.1f} GB, and the disk of the run folder has {run.disk_available / 1e9:.1f} GB: "
            "set checkpoint.replay=false, or put the run elsewhere with hydra.run.dir=FOLDER.",
        )


def short_replay(run: Prospect) -> Found:
    config, length = run.config, run.episode
    capacity = get(config, "replay.capacity")
    if capacity is None:  # a rollout, which goes on with the episode
        return
    rows = capacity / config["env"]["num"]
    if length is not None and rows < length and capacity < config["steps"]:
        yield (
            "replay.capacity",
            f"{setting(config, 'replay.capacity')} holds less than one episode of up to {length:,.0f} steps"
            f"{' for each of ' + str(config['env']['num']) + ' environments' if config['env']['num'] > 1 else ''}, "
            "so that batches are correlated: raise replay.capacity.",
        )


def target_updates(run: Prospect) -> Found:
    if not run.updates:
        return
    for target in run.targets:
        if target.updates < FEW_TARGETS:
            often = (
                f"the target networks cover {target.updates:.2g} of their distance to the online ones, summed over the run"
                if target.key.endswith("tau")
                else f"the target networks change {target.updates:.0f} times in the run"
            )
            remedy = "raise it" if target.key.endswith("tau") else "lower it"
            yield target.key, f"{target.key}={target.value:g}: {often}, and values need at least {FEW_TARGETS}: {remedy}, or raise steps."


def windows(run: Prospect) -> Found:
    config, length = run.config, run.episode
    usual = " on average" if run.limit is None else " at most"
    for key in ("replay.n_step", "replay.length") if run.sequences else ("replay.n_step",):
        value = get(config, key)
        if value is not None and length is not None and value > max(length, 1):
            yield key, f"{setting(config, key)} is longer than an episode, which has {length:,.0f} steps{usual}: lower it."


def threads(run: Prospect) -> Found:
    config, cores = run.config, run.cores
    if config["runtime"]["threads"] > cores:
        yield (
            "runtime.threads",
            f"{setting(config, 'runtime.threads')} is more than the {cores} cores of this process, which slows it down: "
            f"set runtime.threads={cores}.",
        )


def horizon(run: Prospect) -> Found:
    config, length = run.config, run.limit
    discount = config["discount"]
    if run.average_reward or length is None:
        return
    steps = 1 / (1 - discount) if discount < 1 else float("inf")
    if steps > 1.001 * FAR * length:  # 1 / (1 - γ) is not exact
        digits = len(str(length))
        yield (
            "discount",
            f"{setting(config, 'discount')} looks {steps:,.0f} steps ahead, and episodes have at most {length:,.0f}: "
            f"lower it; discount={1 - 1 / length:.{digits}f} looks as far as an episode.",
        )


def actor(run: Prospect) -> Found:
    config = run.config
    period, ratio = get(config, "agent.actor_period"), get(config, "replay.ratio")
    if None not in (period, ratio) and period >= FAR and period > 2 * ratio:
        yield (
            "replay.ratio",
            f"agent.actor_period={period} with {setting(config, 'replay.ratio')} updates the actor once in {period / ratio:,.0f} steps: "
            f"set replay.ratio={period}, or agent.actor_period={max(round(ratio), 1)}.",
        )


def resets(run: Prospect) -> Found:
    config = run.config
    at = get(config, "agent.resets.at") or ()
    if run.updates and at and at[-1] >= run.updates:
        yield (
            "agent.resets.at",
            f"{setting(config, 'agent.resets.at')} counts updates, of which the run makes {run.updates:,}, so that the last "
            "reset does not come: lower it, or raise steps.",
        )


def lap(run: Prospect) -> Found:
    config = run.config
    if get(config, "replay.sampler.least") and get(config, "agent.head.loss") == "squared":
        yield (
            "agent.head.loss",
            f"{setting(config, 'replay.sampler.least')} gives errors below it equal priorities, because a Huber loss is squared there, and "
            f"{setting(config, 'agent.head.loss')}: set agent.head.loss=huber.",
        )


FINDERS: tuple[Callable[[Prospect], Found], ...] = (
    replay_memory, disk, short_replay, target_updates, windows, threads, horizon, actor, resets, lap,
)  # fmt: skip
