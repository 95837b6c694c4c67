"""What a run tells in numbers: a line of its log, and the summary at its end."""

from __future__ import annotations

from typing import Any, Protocol

from deeprl.learning.agent import Agent
from deeprl.replay.source import Source
from deeprl.running.config.rules import get
from deeprl.running.training.evaluator import Evaluator
from deeprl.running.training.saving import Saver
from deeprl.running.training.standing import Standing
from deeprl.running.training.stopwatch import Stopwatch
from deeprl.system.portable import peak_memory


class Training(Protocol):
    """What is read of a `Trainer`."""

    config: dict
    agent: Agent
    collector: Any
    evaluator: Evaluator
    saver: Saver
    source: Source
    standing: Standing
    stopwatch: Stopwatch

    @property
    def step(self) -> int: ...


def metrics_of(trainer: Training) -> dict[str, float]:
    """All metrics at the trainer's step. Numbers of the last update are read from the device here, not in the update."""
    agent, episodes = trainer.agent, trainer.collector.episodes
    values: dict[str, float] = {**trainer.collector.metrics(), **agent.diagnostics(trainer.step), **trainer.source.diagnostics()}
    if episodes.finished:
        values["rollout/episodic_return"] = episodes.finished[-1].reward
    if trainer.standing.learned is not None:
        values.update(agent.read(trainer.standing.learned))
    values["train/n_updates"] = float(agent.updates)
    values.update(agent.learning_rates(trainer.step))
    values.update(trainer.saver.cost)
    frames = get(trainer.config, "env.protocol.frame_skip")
    if frames:
        values["time/frames"] = float(frames * trainer.step)
    values["time/time_elapsed"] = trainer.stopwatch.seconds
    values.update(trainer.stopwatch.speeds(trainer.step, agent.updates))
    return values


def summary_of(trainer: Training, speeds: dict[str, float]) -> dict[str, Any]:
    """Content of summary.json.

    Args:
        speeds: of the stopwatch, before the last evaluation.
    """
    return {
        "final": trainer.standing.final,
        "best": trainer.evaluator.best,
        "steps": trainer.step,
        "stopped_early": trainer.standing.stopped_early,
        "updates": trainer.agent.updates,
        "wall_seconds": trainer.stopwatch.seconds,
        "steps_per_second": speeds.get("time/fps"),
        "updates_per_second": speeds.get("time/updates_per_second"),
        "peak_memory_bytes": peak_memory(),
        **({"data": dict(trainer.source.provenance)} if trainer.source.provenance else {}),
    }
