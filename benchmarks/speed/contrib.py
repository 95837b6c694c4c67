"""RecurrentPPO of sb3-contrib with the sizes that ours has: an LSTM each for policy and value on the observation, then a layer each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

POSITIONS = [*range(8)]
"""Of HalfCheetah's 17 numbers; the others are velocities"""

ONE_HOT = ("minigrid.wrappers.OneHotPartialObsWrapper", "minigrid.wrappers.ImgObsWrapper", "gymnasium.wrappers.FlattenObservation")


@dataclass(frozen=True)
class Task:
    id: str
    settings: dict[str, Any]
    """Of RecurrentPPO; `batch_size` in transitions"""
    envs: int = 8
    package: str | None = None
    """Imported first, for the ids that it registers"""
    wrappers: tuple[tuple[str, dict[str, Any]], ...] = ()
    """Dotted paths of wrapper classes and their arguments, the first one innermost"""


def learned(epochs: int, rate: float) -> dict[str, Any]:
    """As in OTHERS of benchmarks.recipes: the rate falls to 0."""
    return {"n_steps": 64, "batch_size": 256, "n_epochs": epochs, "learning_rate": lambda left: rate * left, "ent_coef": 0.01}


TASKS = {
    "cartpole": Task("CartPole-v1", {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "learning_rate": 2.5e-4, "ent_coef": 0.01}),
    "cheetah": Task(
        "HalfCheetah-v5",
        {"n_steps": 32, "batch_size": 64, "n_epochs": 10, "learning_rate": 3e-4},
        wrappers=(("deeprl.envs.classic.Columns", {"visible": POSITIONS}),),
    ),
    "repeat": Task("popgym-RepeatPreviousEasy-v0", learned(8, 2e-3), envs=16, package="popgym"),
    "memory": Task(
        "MiniGrid-MemoryS7-v0",
        learned(4, 1e-3),
        envs=16,
        package="minigrid",
        wrappers=tuple((path, {}) for path in ONE_HOT),
    ),
}
"""The first two are raced, the others learned by `benchmarks.peer_learning`"""


def named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def made(task: Task, count: int, seed: int):
    """Environments of a task, side by side."""
    from stable_baselines3.common.env_util import make_vec_env

    if task.package:
        importlib.import_module(task.package)

    def wrapped(env):
        for path, given in task.wrappers:
            env = named(path)(env, **given)
        return env

    return make_vec_env(task.id, n_envs=count, seed=seed, wrapper_class=wrapped if task.wrappers else None)


def recurrent(name: str, seed: int, envs=None):
    """
    Args:
        envs: in place of those of the task.
    """
    import torch
    from sb3_contrib import RecurrentPPO

    task = TASKS[name]
    layers = {"net_arch": {"pi": [64], "vf": [64]}, "activation_fn": torch.nn.ReLU}
    sizes = {"lstm_hidden_size": 64, "enable_critic_lstm": True, **layers}
    return RecurrentPPO("MlpLstmPolicy", envs or made(task, task.envs, seed), seed=seed, policy_kwargs=sizes, **task.settings)
