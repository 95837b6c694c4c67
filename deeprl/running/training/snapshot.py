"""What a checkpoint holds of a run, beside the rows of its source, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from deeprl.learning.agent import Agent
from deeprl.noise import NoiseStream
from deeprl.replay.source import Source
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training.evaluator import Evaluator
from deeprl.running.training.restoring import newest, together
from deeprl.running.training.saving import Saver
from deeprl.running.training.standing import Standing, check_result
from deeprl.running.training.stopwatch import Stopwatch
from deeprl.system.ranks import Ranks
from deeprl.system.terminal import say
from deeprl.types import State


class Collecting(Protocol):
    """What a checkpoint needs of a collector."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> list[int]:
        """Returns the environments whose episodes could not be continued."""


class Restored(NamedTuple):
    """What a checkpoint says of a run, beside the states of its parts."""

    standing: Standing
    loggers: dict[str, Any]
    """State of the loggers: their clock"""
    lines: dict[str, int]
    """Lengths of metrics.jsonl and evaluations.jsonl"""


@dataclass
class Snapshot:
    """The parts of a run whose states a checkpoint holds."""

    config: dict
    ranks: Ranks
    folder: RunFolder
    checkpoints: Checkpoints
    agent: Agent
    collector: Collecting
    source: Source
    evaluator: Evaluator
    update_noise: NoiseStream
    stopwatch: Stopwatch
    saver: Saver

    def take(self, standing: Standing) -> dict[str, State]:
        """Parts of a checkpoint of this rank. The first one adds the agent and the loggers, which all have in common."""
        own = {
            **standing.state_dict(self.config),
            "best": self.evaluator.best,
            "ranks": self.ranks.size,
            "filled_from": self.source.begun,
            "data": self.source.provenance.get("digest"),
            "update_noise": self.update_noise.state_dict(),
            "replay_noise": self.source.uniforms.state_dict(),
            "lines": self.folder.sizes(),
            "seconds": self.stopwatch.seconds,
        }
        return {"collector": self.collector.state_dict(), "trainer": own}

    def restore(self) -> Restored:
        """Give every part its state in the newest checkpoint that all ranks can read.

        Raises:
            CheckpointError: on all ranks; there is none, or its content is not a state of this run.
            ConfigError: the run has another number of ranks.
        """
        step, parts = newest(self.checkpoints, self.ranks, self.folder.path, {"agent": self.agent.state_bytes()})
        return together(self.ranks, step, lambda: self.give(step, parts))

    def give(self, step: int, parts: dict[str, Any]) -> Restored:
        """
        Raises:
            Exception: one of `DAMAGE`; the parts are no state of this run.
        """
        state, elapsed, begun = parts["trainer"], parts["loggers"]["elapsed"], int(parts["trainer"]["filled_from"])
        standing = Standing.of(state, self.config)
        if standing.step != step or not 0 <= begun <= step:
            raise ValueError(f"it holds the state of step {standing.step}")
        if "data" in state:  # older checkpoints lack it
            self.source.require(state["data"])
        if not isinstance(elapsed, int | float) or not all(type(size) is int for size in state["lines"].values()):
            raise ValueError("it holds a value of another kind")
        self.evaluator.best = best = state["best"]
        check_result(best, step)
        if best is not None and self.checkpoints.holds(best["step"]):  # killed between saving and marking, or the disk was full
            self.checkpoints.mark_best(best["step"])
        self.stopwatch.before = float(state["seconds"])
        self.update_noise.load_state_dict(state["update_noise"])
        self.source.uniforms.load_state_dict(state["replay_noise"])
        self.agent.load_state(parts["agent"])
        if standing.learned is not None:
            self.agent.read(standing.learned)  # raises where the next log line would
        self.restore_source(step, begun, parts.get("replay"))
        for index in self.collector.load_state_dict(parts["collector"]):  # of episodes that could not be continued
            marked = "replay" in parts and self.source.truncate_episode(index)
            if not marked:
                self.agent.rewards.truncate_episode(index)
        return Restored(standing, parts["loggers"], state["lines"])

    def restore_source(self, step: int, begun: int, state: State | None) -> None:
        """
        Args:
            state: None: the checkpoint holds no rows.
        """
        if state is not None:
            self.source.begun = begun
            self.source.load(state, self.checkpoints.segments(step))
            self.saver.restored(step)
        elif awaited := self.source.restart(step):
            say(f"the checkpoint holds no replay: updates wait for {awaited}")
