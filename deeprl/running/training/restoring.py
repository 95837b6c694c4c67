"""What a checkpoint holds of a trainer, and the way back.

`trainer` is a `deeprl.running.training.trainer.Trainer`; a type would be a circle of imports.
"""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from deeprl.errors import CheckpointError, CheckpointWarning, ConfigError, UnreadableError
from deeprl.running.config.rules import LEARNING
from deeprl.running.runs.checkpoint import DAMAGE
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import check_identity, identity
from deeprl.system.terminal import say
from deeprl.types import Report


def ranks_of(parts: dict) -> int:
    """Number of ranks that saved these parts of a checkpoint."""
    trainer = parts.get("trainer")
    size = trainer.get("ranks") if isinstance(trainer, dict) else None  # older checkpoints lack it
    return size if type(size) is int else 1


def state_of(trainer: Any) -> dict[str, Any]:
    """The part `trainer` of a checkpoint."""
    return {
        "step": trainer.step,
        "identity": identity(trainer.config, LEARNING),
        "ranks": trainer.ranks.size,
        "filled_from": trainer.source.begun,
        "update_noise": trainer.update_noise.state_dict(),
        "replay_noise": trainer.source.uniforms.state_dict(),
        "best": trainer.evaluator.best,
        "final": trainer.final,
        "pending": trainer.pending,
        "done": trainer.done,
        "stopped_early": trainer.stopped_early,
        "until": until(trainer),
        "lines": trainer.folder.sizes(),
        "learned": None if trainer.learned is None else {k: v.clone() for k, v in trainer.learned.metrics.items()},
        "seconds": trainer.stopwatch.seconds,
    }


def until(trainer: Any) -> dict[str, Any]:
    """What decides when training is over. A run that is resumed with other values is not over by the earlier ones."""
    return {"steps": trainer.config["steps"], "stop": trainer.config["stop"]}


def restore(trainer: Any) -> None:
    """Restore the state of the newest checkpoint that all ranks can read.

    Raises:
        CheckpointError: on all ranks; there is none, or its content is not a state of this run.
        ConfigError: the run has another number of ranks.
    """
    step, parts = load(trainer)
    error: CheckpointError | None = None
    try:
        take(trainer, step, parts)
    except UnreadableError as caught:
        error = caught
    except DAMAGE as caught:
        error = unfit(step, caught)
        error.__cause__ = caught
    if error := agreed(trainer.ranks.gather(error)):
        raise error


def load(trainer: Any) -> tuple[int, dict[str, Any]]:
    """The newest checkpoint that all ranks can read: its step, and the parts of this rank with those that all have in common.

    A `CheckpointWarning` of the first rank names each newer one, and what is wrong with it.

    Raises:
        CheckpointError: on all ranks; there is none, and the message gives the reason for each.
        UnreadableError: on all ranks; the machine of one cannot read one now, which may be whole.
        ConfigError: the run has another number of ranks.
    """
    ranks, reasons = trainer.ranks, list[str]()
    steps, refused = offered(trainer.checkpoints) if ranks.first else ([], None)
    steps, refused = ranks.share((steps, refused))
    if refused:
        raise refused
    for step, following in zip(steps, [*steps[1:], None]):
        parts, error = attempt(trainer, step) if ranks.first else ({}, None)
        error, size = ranks.share((error, ranks_of(parts)))
        if error is None:
            require_size(trainer, size)
            if not ranks.first:
                parts, error = attempt(trainer, step)
            error = agreed(ranks.gather(error))
        if error is None:
            return step, parts
        if isinstance(error, UnreadableError):  # a run that goes on from another one would remove this one
            raise error
        reasons.append(str(error))
        if following is not None and ranks.first:
            warnings.warn(f"{error}. Trying the checkpoint of step {following} instead.", CheckpointWarning, stacklevel=2)
    raise CheckpointError("; ".join(dict.fromkeys(reasons)))


def offered(checkpoints: Checkpoints) -> tuple[list[int], CheckpointError | None]:
    """Steps of the checkpoints to try, or why there are none."""
    try:
        return checkpoints.candidates("last"), None
    except CheckpointError as error:
        return [], error


def attempt(trainer: Any, step: int) -> tuple[dict[str, Any], CheckpointError | None]:
    """The parts of a checkpoint, or why this rank cannot read them."""
    most: dict[str, int] = {"agent": trainer.agent.state_bytes()}
    try:
        parts = trainer.checkpoints.load(step, most=most)[1]
        if not trainer.ranks.first:
            parts |= Checkpoints(trainer.folder.path).load(step, {"agent", "loggers"}, most)[1]
    except CheckpointError as error:
        return {}, error
    return parts, None


def agreed(errors: Sequence[CheckpointError | None]) -> CheckpointError | None:
    """The error that all ranks raise, if one of them has one: first that of a machine, because it says nothing about the file."""
    found = [error for error in errors if error is not None]
    return next((error for error in found if isinstance(error, UnreadableError)), found[0] if found else None)


def require_size(trainer: Any, size: int) -> None:
    """
    Args:
        size: number of ranks that saved the checkpoint.

    Raises:
        ConfigError: it is not that of this run.
    """
    if size != trainer.ranks.size:
        raise ConfigError(
            f"this run has {size} ranks, and {trainer.ranks.size} were started: each rank goes on with its own part of the replay. "
            f"Start {size}: torchrun --nproc-per-node={size} -m deeprl resume {shlex.quote(str(trainer.folder.path))}"
        )


def require_unchanged(config: dict[str, Any], checkpoints: Checkpoints) -> None:
    """
    Raises:
        CheckpointError: the configuration is another one than that of the run's last checkpoint, or none can be read.
    """
    if not checkpoints.steps():
        return
    with warnings.catch_warnings(action="ignore", category=CheckpointWarning):  # said when the whole checkpoint is read
        step, parts = checkpoints.load(only={"trainer"})
    try:
        check_identity(config, LEARNING, parts["trainer"].get("identity", {}))
    except DAMAGE as error:
        raise unfit(step, error) from error


def unfit(step: int, error: BaseException) -> CheckpointError:
    return CheckpointError(f"the checkpoint of step {step:,} does not fit this run: {type(error).__name__}: {error}")


def take(trainer: Any, step: int, parts: dict[str, Any]) -> None:
    """Give a trainer the state of a checkpoint.

    Raises:
        Exception: one of `DAMAGE`; the parts are no state of this run.
    """
    state = parts["trainer"]
    check_identity(trainer.config, LEARNING, state.get("identity", {}))
    trainer.step = int(state["step"])
    begun = int(state["filled_from"])
    if trainer.step != step or not 0 <= begun <= step:
        raise ValueError(f"it holds the state of step {trainer.step}")
    for result in (state["best"], state["final"]):
        if result is not None and (not 0 <= int(result["step"]) <= step or not math.isfinite(float(result["mean"]))):
            raise ValueError(f"it knows an evaluation of step {result['step']}")
    best, trainer.final, trainer.pending, trainer.done = (state[name] for name in ("best", "final", "pending", "done"))
    trainer.stopped_early = state.get("stopped_early")  # older checkpoints lack it, and `until`
    kinds = [type(trainer.pending) in (int, type(None)), type(trainer.done) is bool, isinstance(trainer.stopped_early, str | None)]
    kinds += [isinstance(parts["loggers"]["elapsed"], int | float), *(type(size) is int for size in state["lines"].values())]
    if not all(kinds):
        raise ValueError("it holds a value of another kind")
    if state.get("until", until(trainer)) != until(trainer) or ("until" not in state and trainer.step < trainer.config["steps"]):
        trainer.done, trainer.stopped_early = False, None
    trainer.evaluator.best = best
    if best is not None and best["step"] in trainer.checkpoints.steps():  # killed between saving and marking, or the disk was full
        trainer.checkpoints.mark_best(best["step"])
    trainer.loggers_state, trainer.lines = parts["loggers"], state["lines"]
    trainer.stopwatch.before = float(state["seconds"])
    trainer.update_noise.load_state_dict(state["update_noise"])
    trainer.source.uniforms.load_state_dict(state["replay_noise"])
    trainer.agent.load_state(parts["agent"])
    if state["learned"] is not None:
        trainer.agent.read(state["learned"])  # raises where the next log line would
        device = trainer.config["device"]  # beside numbers of later updates
        trainer.learned = Report(torch.zeros(0), {name: value.to(device) for name, value in state["learned"].items()})
    if "replay" in parts:
        trainer.source.begun = begun
        trainer.source.load(parts["replay"], trainer.checkpoints.segments(trainer.step))
        trainer.saver.restored(trainer.step)
    elif awaited := trainer.source.restart(trainer.step):
        say(f"the checkpoint holds no replay: updates wait for {awaited}")
    broken = trainer.collector.load_state_dict(parts["collector"])
    for index in broken:
        trainer.agent.rewards.cut(index)
        if "replay" in parts:
            trainer.source.cut(index)
