"""Runs from Python: train one, or read one."""

from __future__ import annotations

import html
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deeprl.errors import STOPPED, CheckpointError, ConfigError
from deeprl.learning.agent import Agent
from deeprl.packing import numbers_in
from deeprl.running.accelerate.modes import compute_as
from deeprl.running.config import folders
from deeprl.running.config.build import build_agent, check_actions, check_device, environment
from deeprl.running.config.compose import compose
from deeprl.running.config.dry_run import dry_run
from deeprl.running.config.instantiate import Allowed, instantiate
from deeprl.running.config.overrides import quoted
from deeprl.running.config.stored import checked, continued, of_its_commit
from deeprl.running.runs.archive import as_folder
from deeprl.running.runs.checkpoint import DAMAGE
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.runs.places import claim, discard, holds_run, make_place, making, require_new
from deeprl.running.session import session
from deeprl.running.session.columns import NamedColumns
from deeprl.running.session.complete import complete
from deeprl.running.session.given import check_arguments, check_function, replace_function, worded
from deeprl.running.session.observed import of_parts, require_observation
from deeprl.running.training.crash import weights_fault
from deeprl.running.training.distributed import join
from deeprl.running.training.listeners import Listeners
from deeprl.system.functions import name_of, takes
from deeprl.system.machine import flush_denormals
from deeprl.system.strict_json import JsonObject
from deeprl.system.terminal import from_here, say
from deeprl.system.torchrun import place


@dataclass(repr=False)
class Run:
    """A run that was trained or read.

    Attributes:
        folder: the run folder.
        config: the resolved configuration, as in config.yaml.
        agent: the agent, with the weights of `step`.
        step: environment step of the checkpoint, or of the end of training.
        summary: content of summary.json, or None if the run has not finished.
        env: the choice that makes environments.
    """

    folder: Path
    config: Config
    agent: Agent
    step: int
    summary: JsonObject | None
    env: Any
    _state: torch.Tensor | None = field(default=None, init=False)
    """(M, S): of the agent's core, after the last call of `act`"""

    def _shown(self) -> dict[str, str]:
        returned = ((self.summary or {}).get("final") or {}).get("mean")
        for _, line in read_lines(self.folder / "evaluations.jsonl") if returned is None else ():
            returned = np.mean(line["returns"])
        return {
            "agent": self.config["names"]["agent"],
            "environment": self.config["names"]["env"],
            "step": f"{self.step:,}",
            "return": "none yet" if returned is None else f"{returned:.1f}",
            "folder": str(from_here(self.folder)),
        }

    def __repr__(self) -> str:
        """One line: Run(idqn on classic/cartpole, step 400, return 11.0, runs/…). The return is the mean of the last evaluation."""
        return "Run({agent} on {environment}, step {step}, return {return}, {folder})".format_map(self._shown())

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        rows = (f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in self._shown().items())
        return f"<table>{''.join(rows)}</table>"

    def act(self, obs: object, mask: np.ndarray | None = None) -> np.ndarray:
        """Greedy actions for raw observations, each a function of its own observation, with a core also of those before it, since `reset`.
        `agent.simplified()` lists what evaluation draws at random beside them, such as the fractions of implicit quantiles.

        Args:
            obs: one observation as the environment gives it, or a list or array of several. Rows of `make_evaluation` are taken too, where
                they are not of the environment's own space; `act_on_rows` is for them.
            mask: where the environment has action masks, (A,) or (M, A): 1 for each action that is valid. None: the observation holds its
                mask, in a dictionary, or as its last A numbers in the rows of `make_evaluation`.

        Returns:
            One action, or M of them, in the form that the environment takes.

        Raises:
            ValueError: `obs` is what reset returns, or a tensor that requires a gradient; it or `mask` has another shape, a number of it
                is not finite, the environment has no masks, or an agent with a core gets another number of observations than before.
        """
        if mask is not None and not self.agent.spec.masked:
            raise ValueError(f"mask must be None here, not of shape {np.shape(mask)}")
        conversion = self._closed.conversion
        require_observation(obs, conversion and conversion.space)
        rows, single = (conversion and conversion.rows(obs, mask)) or self._as_rows(obs, mask)
        numbers = numbers_in(self.agent.spec.parts, rows) if self.agent.spec.parts else rows
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            index = tuple(np.argwhere(~np.isfinite(numbers))[0].tolist())
            raise ValueError(f"an observation holds {numbers[index]} at index {', '.join(map(str, index[1:]))}, which has no greedy action")
        action = self.act_on_rows(rows)
        action = conversion.action(action) if conversion else action
        return action[0] if single else action

    def act_on_rows(self, rows: np.ndarray) -> np.ndarray:
        """As `act`, for observations as the network sees them, (M, *obs): those of `make_evaluation`."""
        batch = torch.as_tensor(rows, dtype=self.agent.spec.obs_dtype).to(self.config["device"])
        with torch.no_grad():
            if self.agent.state_size:
                action, self._state = self.agent.greedy(batch, self._remembered(batch))
            else:
                action = self.agent.greedy(batch)
            return self.for_environment(action)

    def for_environment(self, action: torch.Tensor) -> np.ndarray:
        """The agent's actions, (M,) or (M, D), as the environment takes them."""
        return self._closed.actions.to_env(action.cpu().numpy())

    def reset(self, ended: object = None) -> None:
        """Forget what an agent with a core remembers, because an episode starts with the next observation.

        Args:
            ended: (M,) bool, the rows of `act` of which this is true; None: all.
        """
        if ended is None or self._state is None:
            self._state = None
        else:
            self._state = torch.where(torch.as_tensor(ended).to(self._state.device)[:, None], 0.0, self._state)

    def _remembered(self, batch: torch.Tensor) -> torch.Tensor:
        if self._state is None:
            return torch.zeros(len(batch), self.agent.state_size, device=batch.device)
        if len(self._state) != len(batch):
            raise ValueError(
                f"{len(batch)} observations after {len(self._state)}: this agent remembers those before, so call reset() first"
            )
        return self._state

    def _as_rows(self, obs: object, mask: np.ndarray | None) -> tuple[np.ndarray, bool]:
        """(M, *obs) of rows as agents see them, and whether it was one."""
        spec = self.agent.spec
        if spec.parts and isinstance(obs, Mapping):
            return of_parts(spec, obs, mask)
        rows = np.asarray(obs)
        if mask is not None:
            if np.shape(mask) != (wanted := (*rows.shape[:-1], spec.mask_size)):
                raise ValueError(f"mask must be {wanted} here, not of shape {np.shape(mask)}")
            rows = np.concatenate([rows, mask], -1, dtype=np.float32)
        single = rows.ndim == len(spec.obs_shape)
        rows = rows[None] if single else rows
        if rows.dtype.kind not in "fiub" or rows.shape[1:] != tuple(spec.obs_shape):
            found = f"{tuple(rows.shape[1:])}" if rows.dtype.kind in "fiub" else f"{obs!r:.100}"
            space = self._closed.conversion and f", or is one of {self._closed.conversion.space}"
            raise ValueError(f"an observation has shape {tuple(spec.obs_shape)}{space or ''}, not {found}")
        return rows, single

    @cached_property
    def _closed(self) -> Any:
        """Backend of an environment, for its spaces; closed already."""
        envs = self.env.make(0, num=1, vector="sync", evaluation=True)
        envs.close()
        return envs.backend

    def metrics(self) -> dict[str, np.ndarray]:
        """The lines of metrics.jsonl as columns (lines,), `step` among them; NaN where a line lacks a metric or holds null, which stands
        for NaN and Inf in JSON. `pandas.DataFrame` takes them."""
        rows = [line for _, line in read_lines(self.folder / "metrics.jsonl")]
        names = sorted({name for row in rows for name in row} - {"step"})
        columns = {name: np.array([row.get(name) for row in rows], float) for name in names}
        return NamedColumns({"step": np.array([row["step"] for row in rows]), **columns} if rows else {})

    def evaluations(self) -> dict[str, np.ndarray]:
        """The lines of evaluations.jsonl as columns (evaluations,): `step`; `mean`, `std` of the returns; `episodes`; `returns` and
        `lengths`, arrays (episodes,) each."""
        rows = [line for _, line in read_lines(self.folder / "evaluations.jsonl")]
        columns: dict[str, np.ndarray] = NamedColumns({"step": np.array([row["step"] for row in rows])})
        for name in ("returns", "lengths"):
            columns[name] = np.empty(len(rows), object)
            columns[name][:] = [np.array(row[name]) for row in rows]
        columns["mean"] = np.array([each.mean() for each in columns["returns"]])
        columns["std"] = np.array([each.std() for each in columns["returns"]])
        columns["episodes"] = np.array([len(each) for each in columns["returns"]])
        return columns

    def make_evaluation(self, seed: int, num: int, render: bool = False):
        return self.env.make(seed, num=num, vector="sync", evaluation=True, render=render)


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
        config = checked(stored, allowed)
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
    return Run(folder.path, config, agent, step, folder.read_summary(), env)


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
            a run has started imports this script.
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
        doubts = "budget" not in user
        outcome, trainer = session.train(config, ranks.home, resume=holds, listeners=listeners, ranks=ranks, doubts=doubts)
    except ConfigError:
        if folder is None and ranks.first:
            discard(ranks.home)
        raise
    if outcome == "stopped":  # what follows this call belongs to a run that has ended, so it must not begin
        said = f"{trainer.stop} at step {trainer.step:,} and saved. Go on with: deeprl.train(..., folder={str(ranks.home)!r}, resume=True)"
        say(said, urgent=True)
        raise KeyboardInterrupt if trainer.stop == "stopped by SIGINT" else SystemExit(STOPPED)
    return Run(ranks.home, config, trainer.agent, trainer.step, trainer.folder.read_summary(), instantiate(config["env"], "env", None))
