"""Suspicions: facts of a record that a user may not intend, each as one sentence with its key and a remedy. Pure functions of a record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from deeprl.running.config.rules import get
from deeprl.running.config.tuned import family
from deeprl.system.progress import duration
from deeprl.tools.check.record import Record, forecast

FEW_TARGETS = 10
"""Updates of the target networks below which a run hardly iterates the Bellman operator"""
HOUR = 3600.0
FAR = 10.0
"""Ratio of two quantities of the same kind from which they count as far apart"""
HUGE = 100.0
"""Entry of an observation that saturates a network of standard initial values"""
MOST_MEMORY = 0.8
"""Share of the free memory above which networks, environments and evaluations may find too little"""


class Suspicion(NamedTuple):
    key: str
    text: str


def suspicions(record: Record) -> list[Suspicion]:
    """Everything that is suspicious in a record."""
    return [Suspicion(key, text) for find in FINDERS for key, text in find(record)]


Found = Iterator[tuple[str, str]]


def setting(record: Record, key: str) -> str:
    """`key=value` of the run's configuration."""
    return f"{key}={shown(get(record.config, key))}"


def shown(value: object) -> str:
    """A value as on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def episode(record: Record) -> float | None:
    """Length of an episode: the time limit, because the policy is untrained; without one the mean of those seen."""
    return record.environment.limit if record.environment.limit is not None else record.seen.length


def tuned(record: Record) -> Found:
    names = record.config["names"]
    if record.tuned is None:
        yield (
            "agent",
            f"There are no tuned settings for agent={names['agent']} on {family(names['env'])}, so the defaults of the agent apply: "
            "set steps, replay and periods as a paper has them for such a task.",
        )


def updates(record: Record) -> Found:
    config = record.config
    if record.updates:
        return
    if get(config, "replay.learning_starts", 0) >= config["steps"]:
        yield (
            "replay.learning_starts",
            f"{setting(record, 'replay.learning_starts')} is not below {setting(record, 'steps')}, so the run makes no update: lower it, "
            "or raise steps.",
        )
    else:
        yield (
            "replay.ratio",
            f"{setting(record, 'replay.ratio')} gives no update in {setting(record, 'steps')}: raise replay.ratio or steps.",
        )


def evaluation(record: Record) -> Found:
    found = forecast(record)
    if found.evaluation > found.training:
        yield (
            "evaluation.every",
            f"{setting(record, 'evaluation.every')} makes {found.evaluations:,} evaluations, which cost {duration(found.evaluation)} "
            f"beside {duration(found.training)} of training: raise evaluation.every, or lower evaluation.episodes.",
        )


def replay_memory(record: Record) -> Found:
    config, memory = record.config, record.memory
    capacity = get(config, "replay.capacity")
    if capacity is None:  # what it holds is as large as its updates ask
        return
    used = memory.replay * min(config["steps"] / capacity, 1.0)
    if memory.available is not None and used > MOST_MEMORY * memory.available:
        yield (
            "replay.capacity",
            f"{setting(record, 'replay.capacity')} takes {used / 1e9:.1f} of {memory.available / 1e9:.1f} GB of free memory: lower "
            f"replay.capacity to {int(MOST_MEMORY * memory.available / memory.replay * capacity):,}, or free memory.",
        )


def disk(record: Record) -> Found:
    memory = record.memory
    if memory.disk > memory.disk_available:
        yield (
            "checkpoint.replay",
            f"Checkpoints need up to {memory.disk / 1e9:.1f} GB, and the disk of the run folder has {memory.disk_available / 1e9:.1f} GB: "
            "set checkpoint.replay=false, or put the run elsewhere with hydra.run.dir=FOLDER.",
        )


def short_replay(record: Record) -> Found:
    config, length = record.config, episode(record)
    capacity = get(config, "replay.capacity")
    if capacity is None:  # a rollout, which goes on with the episode
        return
    rows = capacity / config["env"]["num"]
    if length is not None and rows < length and capacity < config["steps"]:
        yield (
            "replay.capacity",
            f"{setting(record, 'replay.capacity')} holds less than one episode of up to {length:,.0f} steps"
            f"{' for each of ' + str(config['env']['num']) + ' environments' if config['env']['num'] > 1 else ''}, "
            "so that batches are correlated: raise replay.capacity.",
        )


def target_updates(record: Record) -> Found:
    if not record.updates:
        return
    for target in record.targets:
        if target.updates < FEW_TARGETS:
            often = (
                f"the target networks cover {target.updates:.2g} of their distance to the online ones, summed over the run"
                if target.key.endswith("tau")
                else f"the target networks change {target.updates:.0f} times in the run"
            )
            remedy = "raise it" if target.key.endswith("tau") else "lower it"
            yield target.key, f"{target.key}={target.value:g}: {often}, and values need at least {FEW_TARGETS}: {remedy}, or raise steps."


def windows(record: Record) -> Found:
    length = episode(record)
    known = " on average" if record.environment.limit is None else " at most"
    for key in ("replay.n_step", "replay.length") if record.sequences else ("replay.n_step",):
        value = get(record.config, key)
        if value is not None and length is not None and value > max(length, 1):
            yield key, f"{setting(record, key)} is longer than an episode, which has {length:,.0f} steps{known}: lower it."


def threads(record: Record) -> Found:
    cores = record.system["cores"]
    if record.config["runtime"]["threads"] > cores:
        yield (
            "runtime.threads",
            f"{setting(record, 'runtime.threads')} is more than the {cores} cores of this process, which slows it down: "
            f"set runtime.threads={cores}.",
        )


def checkpoints(record: Record) -> Found:
    config, found = record.config, forecast(record)
    period, minutes = config["checkpoint"]["every"], config["checkpoint"]["minutes"]
    steps = min(period or found.steps, found.steps)
    between = min((found.training + found.evaluation) * steps / found.steps, 60 * minutes if minutes is not None else float("inf"))
    if between > HOUR:
        yield (
            "checkpoint.every",
            f"{setting(record, 'checkpoint.every')} lets up to {duration(between)} pass without a checkpoint, which a killed run loses: "
            "add checkpoint.minutes=30.",
        )


def horizon(record: Record) -> Found:
    discount, length = record.config["discount"], record.environment.limit
    if record.average_reward or length is None:
        return
    steps = 1 / (1 - discount) if discount < 1 else float("inf")
    if steps > 1.001 * FAR * length:  # 1 / (1 - γ) is not exact
        digits = len(str(length))
        yield (
            "discount",
            f"{setting(record, 'discount')} looks {steps:,.0f} steps ahead, and episodes have at most {length:,.0f}: "
            f"lower it; discount={1 - 1 / length:.{digits}f} looks as far as an episode.",
        )


def actor(record: Record) -> Found:
    period, ratio = get(record.config, "agent.actor_period"), get(record.config, "replay.ratio")
    if None not in (period, ratio) and period >= FAR and period > 2 * ratio:
        yield (
            "replay.ratio",
            f"agent.actor_period={period} with {setting(record, 'replay.ratio')} updates the actor once in {period / ratio:,.0f} steps: "
            f"set replay.ratio={period}, or agent.actor_period={max(round(ratio), 1)}.",
        )


def resets(record: Record) -> Found:
    at = get(record.config, "agent.resets.at") or ()
    if record.updates and at and at[-1] >= record.updates:
        yield (
            "agent.resets.at",
            f"{setting(record, 'agent.resets.at')} counts updates, of which the run makes {record.updates:,}, so that the last "
            "reset does not come: lower it, or raise steps.",
        )


def lap(record: Record) -> Found:
    if get(record.config, "replay.sampler.least") and get(record.config, "agent.head.loss") == "squared":
        yield (
            "agent.head.loss",
            f"{setting(record, 'replay.sampler.least')} gives errors below it equal priorities, because a Huber loss is squared there, and "
            f"{setting(record, 'agent.head.loss')}: set agent.head.loss=huber.",
        )


def head(record: Record) -> Found:
    """The range of a bounded head beside (discount horizon, at most an episode) · reward."""
    seen, discount, length = record.seen, record.config["discount"], episode(record)
    if record.support is None or not seen.reward_largest:
        return
    ends = [float("inf") if discount == 1 else 1 / (1 - discount), float("inf") if length is None else length]
    steps, reach = min(ends), max(map(abs, record.support))
    named = f"agent.head represents returns from {record.support[0]:g} to {record.support[1]:g}"
    if steps == float("inf"):
        return
    if seen.reward_size * steps > 2 * reach:
        yield (
            "agent.head.high",
            f"{named}, and {steps:,.0f} steps with the mean reward seen, {seen.reward_size:.3g}, give {seen.reward_size * steps:,.3g}: "
            "widen agent.head.low and agent.head.high, or scale rewards.",
        )
    elif reach > 1.001 * FAR * seen.reward_largest * steps:
        yield (
            "agent.head.high",
            f"{named}, and {steps:,.0f} steps with the largest reward seen, {seen.reward_largest:.3g}, give at most "
            f"{seen.reward_largest * steps:,.3g}: narrow agent.head.low and agent.head.high.",
        )


def observations(record: Record) -> Found:
    seen = record.seen
    if seen.largest > HUGE:
        yield (
            "agent/normalize",
            f"Observations reach the network with entries up to {seen.largest:,.4g}: set agent/normalize=running.",
        )
    if seen.constant:
        yield (
            "env",
            f"{seen.constant} of {seen.entries} entries of the observation kept one value other than 0 in {seen.rows:,} steps: "
            "drop them with a wrapper (env.wrappers, or in env.function), or set agent/normalize=running.",
        )


FINDERS: tuple[Callable[[Record], Found], ...] = (
    tuned, updates, evaluation, replay_memory, disk, short_replay, target_updates, windows, threads, checkpoints, horizon, actor,
    resets, lap, head, observations,
)  # fmt: skip
