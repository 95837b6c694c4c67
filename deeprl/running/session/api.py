"""Runs from Python: train one, or read one."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from deeprl.errors import STOPPED, CheckpointError, ConfigError
from deeprl.running.accelerate.modes import compute_as
from deeprl.running.config import folders
from deeprl.running.config.build import build_agent, check_actions, check_device, environment, with_info
from deeprl.running.config.compose import compose
from deeprl.running.config.dry_run import dry_run
from deeprl.running.config.instantiate import Allowed, instantiate
from deeprl.running.config.overrides import quoted
from deeprl.running.config.stored import checked, continued, of_its_commit
from deeprl.running.runs.archive import as_folder
from deeprl.running.runs.checkpoint import DAMAGE
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.places import claim, discard, holds_run, make_place, making, require_new
from deeprl.running.session import session
from deeprl.running.session.complete import complete
from deeprl.running.session.given import check_arguments, check_function, replace_function, worded
from deeprl.running.session.run import Run
from deeprl.running.training.crash import weights_fault
from deeprl.running.training.distributed import join
from deeprl.running.training.listeners import Listeners
from deeprl.system.functions import name_of, takes
from deeprl.system.machine import flush_denormals
from deeprl.system.strict_json import JsonObject
from deeprl.system.terminal import say
from deeprl.system.torchrun import place


def load(path: str | Path, checkpoint: str | int = "last", allow: tuple[str, ...] = (), env: Callable[..., Any] | None = None) -> Run:
    """Read a run folder, or a policy of `deeprl pack`, without training and without unpickling. Denormal numbers become zero
    in this process, as they did in the run.

    Args:
        path: the run folder, or the archive.
        checkpoint: "last", "best" or a step.
        allow: packages besides deeprl that the run's configuration may name, and files that it may hand to its environment.
        env: the function that makes its environments, in place of the stored name of one, which may have stood in a notebook.

    Raises:
        RunFolderError: the folder holds no run, or a file in it is damaged.
        CheckpointError: no such checkpoint is readable, or it does not fit the configuration.
        ConfigError: the configuration is wrong, or not allowed, or the device is not available.
        MachineError: the environment cannot be made now.
    """
    given = () if env is None else ("__main__",)
    return read(as_folder(Path(path).expanduser()), checkpoint, folders.packages(*allow, *given), env)


def read(path: Path, checkpoint: str | int, allowed: Allowed, function: Callable[..., Any] | None = None) -> Run:
    """As `load`. `allowed` is None where the configuration has been compared with the user's own."""
    flush_denormals()
    folder = RunFolder(path)
    stored = folder.read_config()
    if function is not None:
        replace_function(stored, function)
    with of_its_commit(path):
        config = checked(stored, allowed, unused=("logger",))
        check_device(config)
        checkpoints = Checkpoints(folder.path, config["checkpoint"]["keep"])
        env, spec = environment(config, allowed)
        check_actions(config, spec, allowed)
        agent = build_agent(config, spec, allowed, checkpoints.largest("agent"))
    compute_as(agent, config)
    dry_run(agent, spec, config["device"])
    torch.set_num_threads(config["runtime"]["threads"] or 1)
    which = int(checkpoint) if str(checkpoint).isdecimal() else str(checkpoint)
    step, parts = checkpoints.load(which, only={"agent"}, most={"agent": agent.state_bytes()})
    try:
        agent.load_state(parts["agent"], optimizers=False)
    except DAMAGE as error:
        has = f"{spec.num_actions} actions" if spec.num_actions else f"{spec.action_dim} components of an action"
        owner = "its configuration" if function is None else f"env={env.name}, which has observations {spec.obs_shape} and {has}"
        raise CheckpointError(f"the checkpoint of step {step:,} of {path} does not fit {owner}: {error}") from error
    fault = weights_fault(agent)
    if fault:
        raise CheckpointError(f"the checkpoint of step {step:,} of {path} holds {fault}: no run writes such a checkpoint")
    return Run(folder.path, config, agent, step, folder.read_summary(), env, str(checkpoint))


TRAINS = threading.RLock()
"""Held by the thread that trains; a listener may train within"""


@contextmanager
def alone() -> Iterator[None]:
    """
    Raises:
        ConfigError: another thread trains.
    """
    if not TRAINS.acquire(blocking=False):
        raise ConfigError(
            "another thread of this process trains, and both would share torch's precision and its generators: train in processes of their "
            "own, or with deeprl sweep."
        )
    try:
        yield
    finally:
        TRAINS.release()


@alone()
def train(
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    env: Callable[..., Any] | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    config_dir: str | Path | None = None,
    on_log: Callable[[int, dict[str, float]], object] | None = None,
    on_evaluation: Callable[[int, JsonObject], object] | None = None,
    on_checkpoint: Callable[[int, Path], object] | None = None,
    **others: object,
) -> Run:
    """Train with the same overrides, defaults and folders as the command line.

    Args:
        overrides: as on the command line, ["agent=dqn", "steps=10000"]; or by key, {"agent": "dqn", "replay": {"n_step": 3}}.
        env: a function that returns a new Gymnasium environment, in place of the override `env`; with a parameter `num_envs`, a new
            vector environment.
        folder: of the run, new or empty; the default is a new folder under runs/.
        resume: go on with the run in `folder`, if it holds one of this configuration; a finished one is only read.
        config_dir: an additional folder of configurations. It stays in the search path of this process.
        on_log, on_evaluation, on_checkpoint: see `deeprl.running.training.listeners.Listeners`.
        others: refused, with the call that was meant.

    Raises:
        ConfigError: the configuration is wrong, or `folder` holds other files, or a run that `resume` does not continue; or a process that
            a run has started imports this script; or another thread trains.
        KeyboardInterrupt: Ctrl-C stopped the run, which is saved.
        SystemExit: with 75; another signal of docs/runs.md stopped the run, which is saved.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker of env.vector=async, which imports the script anew
        raise ConfigError('each worker process imports this script: put deeprl.train(...) below if __name__ == "__main__":')
    if isinstance(overrides, str):
        raise ConfigError(f"overrides are a list or a dictionary, not a text: deeprl.train({overrides.split()}).")
    check_arguments(folder, others)
    listeners = Listeners(on_log, on_evaluation, on_checkpoint)
    if env is not None:
        check_function(env)
    words = worded(overrides) if isinstance(overrides, Mapping) else list(overrides)
    for word in words:
        if word.startswith(("hydra.run.dir=", "resume=")):
            raise ConfigError(f"{word}: from Python this is an argument, deeprl.train(..., folder=FOLDER, resume=True).")
    if resume and folder is None:
        raise ConfigError("resume=True needs the folder of the run: deeprl.train(..., folder=FOLDER, resume=True).")
    if env is not None:
        words += [f"env={'vector' if takes(env, 'num_envs') else 'function'}", f"env.function={quoted(name_of(env))}"]
    if config_dir is not None:
        folders.add(Path(config_dir))
    config, user, chosen = compose(words)
    config = complete(config, user)
    path = None if folder is None else Path(folder).expanduser()
    holds = path is not None and holds_run(path)
    if path is not None and not (holds and resume):
        require_new(path, "folder=", "resume=True")
    if path is not None and holds:
        config = continued(path, config)
        if (RunFolder(path).read_status() or {}).get("state") == "finished":
            return read(path, "last", None)
    if place()[0] == 0:
        where = "the run folder", "deeprl.train(..., folder=FOLDER)"
        with making(*where):
            path = path or claim("runs", chosen["env"], chosen["agent"], config["seed"])
        make_place(path, *where)
    path = None if path is None else path.absolute()  # because an environment may change the current folder
    ranks = join(config, path)
    try:
        outcome, trainer = session.train(config, ranks.home, resume=holds, listeners=listeners, ranks=ranks, asked=user)
    except ConfigError:
        if folder is None and ranks.first:
            discard(ranks.home)
        raise
    if outcome == "stopped":  # what follows this call belongs to a run that has ended, so it must not begin
        said = f"{trainer.stop} at step {trainer.step:,} and saved. Go on with: deeprl.train(..., folder={str(ranks.home)!r}, resume=True)"
        say(said, urgent=True)
        raise KeyboardInterrupt if trainer.stop == "stopped by SIGINT" else SystemExit(STOPPED)
    env = with_info(instantiate(config["env"], "env", None), config)
    return Run(ranks.home, config, trainer.agent, trainer.step, trainer.folder.read_summary(), env)
