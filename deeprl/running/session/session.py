"""Training in one run folder: build the parts, train, and write the outcome to the folder even after an error."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deeprl.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MachineError,
    NotFinite,
    RankError,
    RunFolderError,
    UnreadableError,
)
from deeprl.running.collect.choice import Here, chosen
from deeprl.running.collect.cluster import cluster_for
from deeprl.running.config.connections import words_of_resume
from deeprl.running.config.instantiate import Allowed
from deeprl.running.config.rules import get, put
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import Config, folder_of, step_of, written
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.loggers import Loggers, Logging
from deeprl.running.runs.places import holds_run, require_new
from deeprl.running.session.assemble import assemble
from deeprl.running.session.doubts import tell_doubts
from deeprl.running.session.needs import logging_of
from deeprl.running.training.distributed import join, require_same_data, require_same_weights
from deeprl.running.training.listeners import Listeners
from deeprl.running.training.restoring import require_unchanged
from deeprl.running.training.trainer import Trainer
from deeprl.system import terminal
from deeprl.system.contention import Contention
from deeprl.system.files import replace_file
from deeprl.system.machine import system_entry
from deeprl.system.progress import Progress
from deeprl.system.ranks import Ranks
from deeprl.system.signals import Signals
from deeprl.system.strict_json import JsonObject
from deeprl.system.terminal import described, described_trace, say
from deeprl.system.watchdog import Watchdog


def train(
    config: Config,
    path: Path,
    resume: bool = False,
    allowed: Allowed = None,
    listeners: Listeners = Listeners(),
    ranks: Ranks | None = None,
    asked: Collection[str] | None = None,
) -> tuple[str, Trainer]:
    """Train in the run folder `path`. With `resume`, start from its last checkpoint, if there is one.

    Args:
        path: absolute, because an environment may change the current folder.
        ranks: the processes of the run, if this one has met the others already.
        asked: keys that the user set, with which a run that begins says what looks wrong; None: it says nothing.

    Returns:
        "finished" or "stopped", and the trainer.

    Raises:
        ConfigError: the folder holds a run or other files, and `resume` is false.
    """
    ranks = ranks or join(config, path, allowed)  # before the signals, because a process that waits cannot stop at them
    collect = chosen(config, allowed)
    if ranks.size > 1 and not isinstance(collect, Here):
        raise ConfigError("collect=ray and learner=distributed do not go together: leave one of them out.")
    if ranks.size > 1 and isinstance(data := get(config, "replay.data", None), str):
        put(config, "replay.data", ranks.broadcast(data))  # the first rank knows the step that the run has read before
    folder = RunFolder(path)
    if resume and not isinstance(collect, Here):
        require_unchanged(config, Checkpoints(path))  # before a process is started for what the configuration says
    terminal.rank = ranks.rank  # of this process, for everything that it prints
    lock = folder.lock() if ranks.first else contextlib.nullcontext()
    signals = Signals(ranks.signalled if ranks.size > 1 else None)
    with lock, cluster_for(collect) as cluster, signals:
        if not resume and ranks.first:
            require_new(path)  # under the lock, which keeps other processes from starting a run here
        status = folder.read_status() if resume else None
        if status is not None and ranks.first:
            require_checkpoints(folder, status)
        trainer = built(config, folder, allowed, ranks, status, cluster=cluster, check_stop=signals.raise_if_stopped)
        going = False  # whether the folder says that it runs
        ready = False  # whether the trainer has the state from which it goes on: that of step 0, or of a checkpoint
        try:
            if asked is not None and not resume and ranks.first:
                tell_doubts(trainer, asked)
            logging = logging_of(config, allowed)
            if ranks.first:
                logging.log_in(goes_on=status is not None)
            restores = ranks.broadcast(resume and bool(trainer.checkpoints.steps()))
            if restores:
                trainer.restore()
            ready = True
            require_same_weights(ranks, trainer.agent)
            require_same_data(ranks, trainer.source)
            if ranks.first:
                loggers = started(trainer, logging, resume)
            else:
                loggers, listeners = Loggers([]), Listeners()  # those of the first rank write and are called
            going = True
            if restores:
                say(f"resumed from step {trainer.step:,}" + (f" (the run had reached step {status['step']:,})" if status else ""))
                say_if_rates_are_zero(trainer)
            contention = Contention(config["runtime"]["threads"])
            progress = Progress(config["steps"], trainer.step, live=None if ranks.first else False, notice=contention.notice)
            minutes = config["runtime"]["watchdog"] if ranks.first else None  # it hangs too if another rank does
            outcome = "failed"
            try:
                with Watchdog(path, minutes, partial(trainer.write_status, "failed"), trusted=words_of_resume(config)) as watchdog:
                    outcome = trainer.run(loggers, progress, signals, watchdog, listeners)
            finally:
                progress.close()
                loggers.ended(outcome)
                loggers.close()
        except ConfigError as error:  # the command was wrong, not the run, unless this goes on
            if going:
                record_failure(trainer, error, ready, status)
            raise
        except BaseException as error:
            record_failure(trainer, error, ready, status)
            raise
        finally:
            trainer.envs.close()
    ranks.leave()
    return outcome, trainer


UNTRACED = (KeyboardInterrupt, RunFolderError, CheckpointError, RankError, MachineError)
"""Their messages say all, in Python as at the end of a command (`deeprl.cli.exits`)."""


def record_failure(trainer: Trainer, error: BaseException, ready: bool, before: JsonObject | None) -> None:
    """Write an error, which is handled now, to status.json and traceback.txt, and what the agent knows against it into the error.

    Args:
        ready: the trainer had the state from which it goes on. If not, the run got no further than before.
        before: content of status.json when the command started; None if a run begins.
    """
    if isinstance(error, NotFinite):
        error.remedy = trainer.agent.remedy
    if not holds_run(trainer.folder.path):
        return  # not even config.yaml could be written, so that the same command may begin the run
    with contextlib.suppress(OSError):  # the error may be that of the disk
        said = described(error)
        if ready:
            trainer.write_status("failed", said)
        elif trainer.ranks.first:
            go_no_further(trainer.folder, before, said)
    if trainer.ranks.first and not isinstance(error, UNTRACED):
        with contextlib.suppress(OSError):
            replace_file(trainer.folder.path / "traceback.txt", described_trace())  # a script that is gone has told it to nobody


def go_no_further(folder: RunFolder, before: JsonObject | None, said: str) -> None:
    """Write to status.json that a run has failed where it stood.

    Args:
        before: as in `record_failure`.
    """
    if before is not None and before["state"] != "finished":
        folder.write_status("failed", before["step"], before["updates"], said, saved=before.get("saved"))


def require_checkpoints(folder: RunFolder, status: JsonObject) -> None:
    """A run that has saved goes on from a checkpoint only, because it would else start at step 0 and empty its records.

    Raises:
        RunFolderError: its checkpoints are gone.
    """
    saved = status.get("saved") is not None or status["state"] in ("finished", "stopped")
    if saved and not Checkpoints(folder.path).steps():
        raise RunFolderError(
            f"{folder.path / 'checkpoints'} holds no checkpoint any more of a run of {status['step']:,} steps: put them back, or start "
            "another run in another folder."
        )


def say_if_rates_are_zero(trainer: Trainer) -> None:
    """Say which learning rates are 0 in all steps that are left, because a schedule of the first command has come to its end."""
    now, last, agent = trainer.step, trainer.config["steps"], trainer.agent
    names = [name for name, rate in agent.learning_rates(now).items() if rate == 0.0 == agent.learning_rates(last)[name]]
    if now < last and names:
        say(
            f"{', '.join(names)}: 0 from step {now:,} on, because the schedule of the learning rate has ended: the updates up to step "
            f"{last:,} change no weight. To learn for longer, start another run with more steps, from these weights with "
            f"init_from={shlex.quote(str(trainer.folder.path))}"
        )


TOLD = 6
"""Differences that a message lists"""


def computing(start: Any) -> dict[str, str]:
    """What an entry of system.json says of the code and the processor with which a run is the same bit for bit, by names for a reader."""
    parts = {"": get(start, "packages"), "module ": get(start, "code")}
    named = {f"{word}{name}": value for word, part in parts.items() if isinstance(part, dict) for name, value in part.items()}
    found = {"commit of deeprl": get(start, "git.commit"), **named, "cpu": get(start, "cpu"), "gpu": get(start, "gpu")}
    return {name: f"{value!s:.100}" for name, value in found.items() if value is not None}


def say_if_elsewhere(before: list[Any], now: JsonObject) -> None:
    """Say where a run goes on with other code, versions or another processor than those of its last start, if these are known."""
    here = computing(now)
    known = [(name, was, here[name]) for start in before for name, was in computing(start).items() if name in here]
    changed = [f"{name} {was} -> {is_}" for name, was, is_ in known if was != is_]
    if changed:
        most = f", and {len(changed) - TOLD} more" if len(changed) > TOLD else ""
        say(f"not as at the last start: {', '.join(changed[:TOLD])}{most}. The run goes on, and may differ from what it was there")


def played_elsewhere(played: str | None, env: str) -> str:
    """What a reader should know of data that another environment has made; empty if it is the same, or not known."""
    if played in (None, env):
        return ""
    return f"replay.data has transitions of {played}, and this run learns {env}: the same spaces, maybe another task"


def may_remove(data: str) -> str:
    """What a reader should know of data in a run that may remove the checkpoint that was read; empty if the run is finished.

    Args:
        data: FOLDER@STEP.
    """
    folder = RunFolder(Path(folder_of(data)).expanduser())
    try:
        status, keep = folder.read_status() or {}, get(folder.read_config(), "checkpoint.keep")
    except RunFolderError:
        return ""
    if status.get("state") in (None, "finished"):
        return ""
    return (
        f"replay.data={data}: that run is not finished ({status['state']}), and may remove this checkpoint as it trains on "
        f"(checkpoint.keep={keep}). A resume needs it: copy the folder now, and go on with deeprl resume RUN replay.data=COPY"
    )


def tell_of_data(config: Config, provenance: Mapping[str, Any], begins: bool) -> None:
    """Write into `config` which data are learned from, and say what a reader should know of them.

    Args:
        begins: the run does not go on from a checkpoint.
    """
    if not (digest := provenance.get("digest")):
        return
    config["names"]["data"] = digest  # for a reader: a resume compares that of the checkpoint
    if isinstance(get(config, "replay.data"), str):
        config["replay"]["data"] = provenance["name"]  # with the step, because the run that made them may go on
    if told := played_elsewhere(provenance.get("env"), config["names"]["env"]):
        say(told)
    if begins and step_of(provenance["name"]) and (told := may_remove(provenance["name"])):
        say(told)


def started(trainer: Trainer, logging: Logging, resume: bool) -> Loggers:
    """Write in the run folder that the run starts, or goes on, and open its loggers.

    Args:
        resume: the command continues a run, so that the folder may hold event files of an earlier process.
    """
    config, folder = trainer.config, trainer.folder
    known = trainer.restored
    folder.truncate_after(trainer.step if known else -1, known.lines if known else {})
    tell_of_data(config, trainer.source.provenance, known is None)
    folder.write_config(config)
    start = {"resumed_from": trainer.step if known else None, "ranks": trainer.ranks.size}
    if trainer.source.provenance:
        start["data"] = trainer.source.provenance["name"]
    entry, before = system_entry(config["device"]), folder.read_system()[-1:]
    if known:
        say_if_elsewhere(before, entry)
    folder.append_system({**entry, **start})
    trainer.write_status("running")
    if known:
        loggers = logging.open(folder.path, purge_step=trainer.step + (known.standing.pending is None))
        loggers.load_state_dict(known.loggers)
        loggers.hparams(config, again=True)
    else:
        loggers = logging.open(folder.path, purge_step=0 if resume else None)
        loggers.text(0, "config", as_page(config))
        loggers.hparams(config)
    return loggers


def built(config: Config, folder: RunFolder, allowed: Allowed, ranks: Ranks, before: JsonObject | None, **where: Any) -> Trainer:
    """The trainer of a run. An error other than `ConfigError` is written to status.json, because the machine caused it, not the user. So
    is that of data which a run that goes on has read before.

    Args:
        before: as in `record_failure`.
    """
    try:
        return assemble(config, folder, allowed, ranks=ranks, **where)
    except ConfigError as error:
        if before is None or not isinstance(error.__cause__, DataError):
            raise
        with contextlib.suppress(OSError):
            if ranks.first:
                go_no_further(folder, before, str(error))
        raise RunFolderError(str(error)) from error
    except BaseException as error:
        with contextlib.suppress(OSError, RunFolderError, ConfigError):
            if ranks.first and isinstance(error, UnreadableError):
                go_no_further(folder, before, described(error))
            if ranks.first and folder.read_status() is None:
                folder.write_config(config)  # so that the same command begins the run again
                folder.write_status("failed", 0, 0, described(error))
            goes_on = before is None or before["state"] != "finished"
            if ranks.first and goes_on and holds_run(folder.path) and not isinstance(error, UNTRACED):
                replace_file(folder.path / "traceback.txt", described_trace())
        raise


def as_page(config: Config) -> str:
    """The configuration as text for TensorBoard."""
    shown = {**config, "logger": {key: value for key, value in config["logger"].items() if key != "also"}}
    return "```yaml\n" + written(shown) + "```"
