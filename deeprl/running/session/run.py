"""A run that was trained or read: its policy, its records, its evaluation."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.packing import numbers_in
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import read_lines
from deeprl.running.session.columns import NamedColumns
from deeprl.running.session.computation import computing_as
from deeprl.running.session.observed import of_parts, require_bytes, require_observation
from deeprl.running.training.evaluation import evaluate, interval, recorded, repeated_seed, summarise
from deeprl.running.training.overestimation import Overestimation
from deeprl.system import generators
from deeprl.system.strict_json import JsonObject
from deeprl.system.terminal import from_here


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
        checkpoint: as `load` was asked for it; "last" after training.
    """

    folder: Path
    config: Config
    agent: Agent
    step: int
    summary: JsonObject | None
    env: Any
    checkpoint: str = "last"
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
        if self.agent.spec.obs_dtype == torch.uint8:
            require_bytes(rows)
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
            which = torch.as_tensor(ended)
            if which.dtype != torch.bool or which.shape != self._state.shape[:1]:
                raise ValueError(f"ended must be ({len(self._state)},) of true and false, not {ended!r:.100}")
            self._state = torch.where(which.to(self._state.device)[:, None], 0.0, self._state)

    def evaluate(
        self, episodes: int | None = None, seed: int | None = None, each_tick: Callable[[int, int, int], None] = lambda *counts: None
    ) -> JsonObject:
        """Play whole episodes on fresh environments, as `deeprl eval` does.

        Args:
            episodes: None: as many as the run's own evaluation at this step had with this seed, else `evaluation.final_episodes`.
            seed: of all random numbers. None: that of the run's own evaluation at this step, which is then repeated, return for return; for
                the best checkpoint another one, because its weights were chosen by the result of the run's own.
            each_tick: called before each step with the number of episodes, of those that are over, and of steps so far.

        Returns:
            {"step", "mean", "iqm", "std", "episodes", "interval", "seed", "returns", "lengths", "diagnostics"}: raw rewards, undiscounted;
            "interval" is Student's 95 % interval of the mean, None of one episode. "info" and "cut_off" as in evaluations.jsonl.

        Raises:
            ConfigError: `episodes` is no whole number or less than 1, or `seed` is none or less than 0.
        """
        config = self.config
        if seed is None:
            seed = repeated_seed(self.folder, config["seed"], self.step, self.checkpoint)
        own = recorded(self.folder, self.step, seed, config["evaluation"])
        episodes = own.episodes if episodes is None else episodes
        given: tuple[tuple[str, object, int], ...] = (("episodes", episodes, 1), ("seed", seed, 0))
        for name, value, least in given:
            if not isinstance(value, int | np.integer):
                raise ConfigError(f"{name} must be a whole number, not {value!r:.200}")
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value}")
        num, device, longest = own.num, config["device"], own.longest
        values, tick = Overestimation.of_run(self.agent.rewards, config), partial(each_tick, episodes)
        with generators.kept(), computing_as(self.agent, config):  # an environment may draw from the generators of the caller's process
            result = evaluate(self.agent, self.env.make_evaluation, episodes, num, seed, self.step, device, tick, (values,), longest)
        numbers = {**summarise(result["returns"]), "interval": interval(result["returns"])}
        return {"step": self.step, **numbers, **result, "diagnostics": values.metrics()}

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
