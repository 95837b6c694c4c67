"""The checkpoint from which a run goes on: the newest one that all ranks can read."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from deeprl.errors import CheckpointError, CheckpointWarning, ConfigError, UnreadableError, on_one_line
from deeprl.running.config.rules import LEARNING
from deeprl.running.runs.checkpoint import DAMAGE
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import Config, check_identity
from deeprl.system.ranks import Ranks
from deeprl.types import State

T = TypeVar("T")


def ranks_of(parts: dict) -> int:
    """Number of ranks that saved these parts of a checkpoint."""
    trainer = parts.get("trainer")
    size = trainer.get("ranks") if isinstance(trainer, dict) else None  # older checkpoints lack it
    return size if type(size) is int else 1


def together(ranks: Ranks, step: int, take: Callable[[], T]) -> T:
    """The result of `take`, which gives the run the state of the checkpoint of `step`.

    Raises:
        CheckpointError: on all ranks; on one of them the content is not a state of this run.
        UnreadableError: on all ranks; the machine of one cannot read it now.
    """
    error: CheckpointError | None = None
    try:
        found = take()
    except UnreadableError as caught:
        error = caught
    except DAMAGE as caught:
        error = unfit(step, caught)
        error.__cause__ = caught
    if error := agreed(ranks.gather(error)):
        raise error
    return found


def newest(checkpoints: Checkpoints, ranks: Ranks, folder: Path, most: dict[str, int]) -> tuple[int, State]:
    """The newest checkpoint that all ranks can read: its step, and the parts of this rank with those that all have in common.

    Args:
        checkpoints: those of this rank.
        folder: of the run, where the first rank's checkpoints are.
        most: for some parts, the largest allowed size of their file in bytes.

    A `CheckpointWarning` of the first rank names each newer one, and what is wrong with it.

    Raises:
        CheckpointError: on all ranks; there is none, and the message gives the reason for each.
        UnreadableError: on all ranks; the machine of one cannot read one now, which may be whole.
        ConfigError: the run has another number of ranks.
    """
    reasons = list[str]()
    steps, refused = offered(checkpoints) if ranks.first else ([], None)
    steps, refused = ranks.broadcast((steps, refused))
    if refused:
        raise refused
    for step, following in zip(steps, [*steps[1:], None]):
        parts, error = attempt(checkpoints, ranks, folder, most, step) if ranks.first else ({}, None)
        error, size = ranks.broadcast((error, ranks_of(parts)))
        if error is None:
            require_size(ranks, folder, size)
            if not ranks.first:
                parts, error = attempt(checkpoints, ranks, folder, most, step)
            error = agreed(ranks.gather(error))
        if error is None:
            return step, parts
        if isinstance(error, UnreadableError):  # a run that goes on from another one would remove this one
            raise error
        reasons.append(str(error))
        if following is not None and ranks.first:
            warnings.warn(f"{error}. Trying the checkpoint of step {following} instead.", CheckpointWarning, stacklevel=2)
    whole = ". The weights are other files: deeprl eval takes them, and init_from=RUN begins another run with them"
    only_rows = all(f"{checkpoints.replay}/" in reason for reason in reasons)
    raise CheckpointError("; ".join(dict.fromkeys(reasons)) + (whole if reasons and only_rows else ""))


def offered(checkpoints: Checkpoints) -> tuple[list[int], CheckpointError | None]:
    """Steps of the checkpoints to try, or why there are none."""
    try:
        return checkpoints.candidates("last"), None
    except CheckpointError as error:
        return [], error


def attempt(checkpoints: Checkpoints, ranks: Ranks, folder: Path, most: dict[str, int], step: int) -> tuple[State, CheckpointError | None]:
    """The parts of a checkpoint, or why this rank cannot read them."""
    try:
        parts = checkpoints.load(step, most=most)[1]
        if "trainer" not in parts:
            alone = f"the checkpoint of step {step:,} holds weights alone, as a packed policy does"
            raise CheckpointError(f"{alone}: start another run with init_from={shlex.quote(str(checkpoints.folder.parent))}")
        if not ranks.first:
            parts |= Checkpoints(folder).load(step, {"agent", "loggers"}, most)[1]
    except CheckpointError as error:
        return {}, error
    return parts, None


def agreed(errors: Sequence[CheckpointError | None]) -> CheckpointError | None:
    """The error that all ranks raise, if one of them has one: first that of a machine, because it says nothing about the file."""
    found = [error for error in errors if error is not None]
    return next((error for error in found if isinstance(error, UnreadableError)), found[0] if found else None)


def require_size(ranks: Ranks, folder: Path, size: int) -> None:
    """
    Args:
        size: number of ranks that saved the checkpoint.

    Raises:
        ConfigError: it is not that of this run.
    """
    if size != ranks.size:
        raise ConfigError(
            f"this run has {size} ranks, and {ranks.size} were started: each rank goes on with its own part of the replay. "
            f"Start {size}: torchrun --nproc-per-node={size} -m deeprl resume {shlex.quote(str(folder))}"
        )


def require_unchanged(config: Config, checkpoints: Checkpoints) -> None:
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
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "  # a sentence of ours
    changed = (
        ". The code of its parts may have changed since: go on with that of then, or start another run with init_from, which takes what "
        "fits"
        if type(error) in (RuntimeError, KeyError)  # torch's and Python's, of states with other keys
        else ""
    )
    return CheckpointError(f"the checkpoint of step {step:,} does not fit this run: {kind}{on_one_line(error).rstrip('.')}{changed}")
