"""Runs from Python: train one, or read one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deeprl.accelerate.modes import apply
from deeprl.agent import Agent
from deeprl.config import folders
from deeprl.config.build import build_agent, check_actions, check_device, environment
from deeprl.config.compose import compose, prepare
from deeprl.config.dry_run import dry_run
from deeprl.config.instantiate import instantiate
from deeprl.config.stored import checked
from deeprl.errors import CheckpointError, ConfigError
from deeprl.noise import map_tensors
from deeprl.runs.checkpoint import DAMAGE
from deeprl.runs.checkpoints import Checkpoints
from deeprl.runs.folder import RunFolder, claim
from deeprl.session import session
from deeprl.session.assemble import settle
from deeprl.system.machine import flush_denormals
from deeprl.training.crash import weights_fault


@dataclass
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
    config: dict[str, Any]
    agent: Agent
    step: int
    summary: dict[str, Any] | None
    env: Any

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Greedy actions for raw observations.

        Args:
            obs: one observation (*obs), or several (M, *obs).

        Returns:
            One action, or M of them, in the form that the environment takes.

        Raises:
            ValueError: `obs` has another shape.
        """
        spec = self.agent.spec
        obs = np.asarray(obs)
        single = obs.ndim == len(spec.obs_shape)
        batch = torch.as_tensor(obs[None] if single else obs, dtype=spec.obs_dtype).to(self.config["device"])
        if tuple(batch.shape[1:]) != tuple(spec.obs_shape):
            raise ValueError(f"an observation has shape {tuple(spec.obs_shape)}, not {tuple(batch.shape[1:])}")
        m = batch.shape[0]
        noise = map_tensors(lambda tensor: tensor[0], self.agent.act_noise((1, m), torch.Generator().manual_seed(0)))
        noise = {name: value + 1.0 if name == "explore" else value for name, value in noise.items()}  # above every epsilon: greedy
        acted = self.agent.act(batch, torch.ones(m, dtype=torch.bool), {}, self.step, noise, explore=False)
        action = self._to_env(acted.action.numpy())
        return action[0] if single else action

    def _to_env(self, action: np.ndarray) -> np.ndarray:
        if not hasattr(self, "_actions"):
            envs = self.env.make(0, num=1, vector="sync", evaluation=True)
            self._actions = envs.backend.actions
            envs.close()
        return self._actions.to_env(action)

    def make_evaluation(self, seed: int, num: int, render: bool = False):
        return self.env.make(seed, num=num, vector="sync", evaluation=True, render=render)


def load(path: str | Path, checkpoint: str | int = "last", allow: tuple[str, ...] = ()) -> Run:
    """Read a run folder, without training and without unpickling. Denormal numbers become zero in this process, as they did in the run.

    Args:
        checkpoint: "last", "best" or a step.
        allow: packages besides deeprl that the run's configuration may name.

    Raises:
        RunFolderError: the folder holds no run, or a file in it is damaged.
        CheckpointError: no such checkpoint is readable, or it does not fit the configuration.
        ConfigError: the configuration is wrong, or not allowed, or the device is not available.
    """
    flush_denormals()
    folder = RunFolder(Path(path))
    allowed = folders.packages(*allow)
    config = checked(folder.read_config(), allowed)
    check_device(config)
    checkpoints = Checkpoints(folder.path, config["checkpoint"]["keep"])
    env, spec = environment(config, allowed)
    check_actions(config, spec, allowed)
    agent = build_agent(config, spec, allowed, checkpoints.largest("agent"))
    apply(agent, config["accelerate"]["mode"])
    dry_run(agent, spec, config["device"])
    torch.set_num_threads(config["runtime"]["threads"] or 1)
    which = int(checkpoint) if str(checkpoint).isdecimal() else str(checkpoint)
    step, parts = checkpoints.load(which, only={"agent"}, most={"agent": agent.state_bytes()})
    try:
        agent.load_state(parts["agent"], optimizers=False)
    except DAMAGE as error:
        raise CheckpointError(f"the checkpoint of step {step:,} of {path} does not fit its configuration: {error}") from error
    fault = weights_fault(agent)
    if fault:
        raise CheckpointError(f"the checkpoint of step {step:,} of {path} holds {fault}: no run writes such a checkpoint")
    return Run(folder.path, config, agent, step, folder.read_summary(), env)


def train(overrides: Sequence[str], config_dir: str | Path | None = None) -> Run:
    """Train with the same overrides, defaults and folders as the command line.

    Args:
        overrides: as on the command line, such as ["agent=dqn", "steps=10000"].
        config_dir: an additional folder of configurations. It stays in the search path of this process.

    Raises:
        ConfigError: the configuration is wrong.
    """
    fixed = [o for o in overrides if o.startswith(("hydra.run.dir=", "resume="))]
    if fixed:
        raise ConfigError(f"{fixed[0]}: a run from Python always starts in a new folder under runs/. `deeprl resume RUN` continues a run.")
    if config_dir is not None:
        folders.add(Path(config_dir))
    prepare()
    config, user, chosen = compose(overrides)
    config = settle(config, user)
    path = claim("runs", chosen["env"], chosen["agent"], config["seed"])
    _, trainer = session.train(config, path)
    return Run(path, config, trainer.agent, trainer.step, trainer.folder.read_summary(), instantiate(config["env"], "env", None))
