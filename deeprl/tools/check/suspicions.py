"""Suspicions: facts of a record that a user may not intend, each as one sentence with its key and a remedy. Pure functions of a record.
Those that need no measurement are in `deeprl.running.session.doubts`, because training says them too."""

from __future__ import annotations

from collections.abc import Callable

from deeprl.running.config.rules import get
from deeprl.running.config.tuned import family
from deeprl.running.session.doubts import FAR, FINDERS, Found, Suspicion, doubts, setting
from deeprl.system.progress import duration
from deeprl.tools.check.record import Record, forecast

HOUR = 3600.0
HUGE = 100.0
"""Entry of an observation that saturates a network of standard initial values, and reward that dwarfs its first outputs"""


def suspicions(record: Record) -> list[Suspicion]:
    """Everything that is suspicious in a record. What training says in other words, and before it, comes first."""
    return [
        *[Suspicion(key, text) for find in (tuned, updates) for key, text in find(record)],
        *doubts(record.prospect, FINDERS),
        *[Suspicion(key, text) for find in MEASURED for key, text in find(record)],
    ]


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
            f"{setting(config, 'replay.learning_starts')} is not below {setting(config, 'steps')}, so the run makes no update: lower it, "
            "or raise steps.",
        )
    else:
        yield (
            "replay.ratio",
            f"{setting(config, 'replay.ratio')} gives no update in {setting(config, 'steps')}: raise replay.ratio or steps.",
        )


def evaluation(record: Record) -> Found:
    config = record.config
    found = forecast(record)
    if found.evaluation > found.training:
        yield (
            "evaluation.every",
            f"{setting(config, 'evaluation.every')} makes {found.evaluations:,} evaluations, which cost {duration(found.evaluation)} "
            f"beside {duration(found.training)} of training: raise evaluation.every, or lower evaluation.episodes.",
        )


def checkpoints(record: Record) -> Found:
    config, found = record.config, forecast(record)
    period, minutes = config["checkpoint"]["every"], config["checkpoint"]["minutes"]
    steps = min(period or found.steps, found.steps)
    between = min((found.training + found.evaluation) * steps / found.steps, 60 * minutes if minutes is not None else float("inf"))
    if between > HOUR:
        yield (
            "checkpoint.every",
            f"{setting(config, 'checkpoint.every')} lets up to {duration(between)} pass without a checkpoint, which a killed run loses: "
            "add checkpoint.minutes=30.",
        )


def head(record: Record) -> Found:
    """The range of a bounded head beside (discount horizon, at most an episode) · reward."""
    seen, discount, length = record.seen, record.config["discount"], record.prospect.episode
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


def rewards(record: Record) -> Found:
    if (size := record.seen.reward_size) > HUGE:
        yield (
            "agent/rewards",
            f"Rewards that are learned from are {size:,.4g} in size on average, and values are many times that: choose "
            "agent/rewards=scaled, or divide them in the environment.",
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


MEASURED: tuple[Callable[[Record], Found], ...] = (evaluation, checkpoints, head, rewards, observations)
