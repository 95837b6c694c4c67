"""Contestants: whole training loops of Stable-Baselines3 (PyTorch) and SBX (JAX), with the duties that our loop has.

python -m benchmarks.speed.peers sb3|sbx|sb3-contrib|sb3+flush TASK WARM_UP [bare]

TASK is td3, td3_pendulum, sac, tqc, tqc_two, atari, minatar, minatar_mlp, cartpole, ppo_cartpole, ppo_cartpole_8, ppo_cheetah or, of
sb3-contrib, one of those in `benchmarks.speed.contrib`.

`bare` makes neither evaluations nor checkpoints.

`sb3+flush` takes denormal numbers for zero, as deeprl does: Adam's averages of dead units are such numbers, and slow on some processors.
"""

from __future__ import annotations

import os
import sys
import tempfile

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.noise import NormalActionNoise

from benchmarks.speed import contrib
from benchmarks.speed.gate import Gate

if "OMP_NUM_THREADS" in os.environ:  # without it, the library's own default
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


class AtGate(BaseCallback):
    def __init__(self, gate: Gate):
        super().__init__()
        self.gate = gate

    def _on_step(self) -> bool:
        self.gate.passed(self.training_env.num_envs)
        return True


class Planes(gym.ObservationWrapper):
    """MinAtar's (10, 10, C) booleans as (C, 10, 10) bytes, or as one float vector."""

    def __init__(self, env: gym.Env, flat: bool):
        super().__init__(env)
        height, width, channels = env.observation_space.shape
        self.flat = flat
        if flat:
            self.observation_space = gym.spaces.Box(0.0, 1.0, (height * width * channels,), np.float32)
        else:
            self.observation_space = gym.spaces.Box(0, 1, (channels, height, width), np.uint8)

    def observation(self, obs):
        return obs.reshape(-1).astype(np.float32) if self.flat else np.moveaxis(obs, -1, 0).astype(np.uint8)


def minatar(flat: bool) -> gym.Env:
    from minatar.gym import register_envs

    register_envs()
    return Planes(gym.wrappers.TimeLimit(gym.make("MinAtar/Breakout-v1"), 10_000), flat)


def convolution():
    """The torso of Young and Tian: 16 kernels of 3x3."""
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    class Conv(BaseFeaturesExtractor):
        def __init__(self, space):
            super().__init__(space, 1024)
            self.net = torch.nn.Sequential(torch.nn.Conv2d(space.shape[0], 16, 3), torch.nn.ReLU(), torch.nn.Flatten())

        def forward(self, x):
            return self.net(x)

    return Conv


def model(library: str, task: str, seed: int = 0):
    if library == "sb3-contrib":
        return contrib.recurrent(task, seed)
    if library == "sb3":
        from stable_baselines3 import DQN, TD3
    else:
        from sbx import DQN, TD3
    if task in ("td3", "td3_pendulum"):
        env = gym.make("HalfCheetah-v5" if task == "td3" else "Pendulum-v1")
        size = env.action_space.shape
        return TD3(
            "MlpPolicy", env, learning_rate=3e-4, batch_size=256, learning_starts=1000, train_freq=1, gradient_steps=1, policy_delay=2,
            action_noise=NormalActionNoise(np.zeros(size), 0.1 * np.ones(size)), policy_kwargs={"net_arch": [256, 256]}, seed=0,
        )  # fmt: skip
    if task in ("sac", "tqc", "tqc_two"):
        return stochastic(library, task)
    if task.startswith("ppo"):
        return proximal(library, task, seed)
    if task == "cartpole":
        return DQN(
            "MlpPolicy", gym.make("CartPole-v1"), learning_rate=2.5e-4, buffer_size=10_000, batch_size=128, learning_starts=1000,
            train_freq=10, gradient_steps=1, target_update_interval=500, policy_kwargs={"net_arch": [120, 84]}, seed=0,
        )  # fmt: skip
    if task in ("minatar", "minatar_mlp"):
        flat = task == "minatar_mlp"
        if flat:
            kwargs: dict = {"net_arch": [120, 84]}
        elif library == "sb3":
            kwargs = {"net_arch": [128], "features_extractor_class": convolution(), "normalize_images": False}
        else:
            raise SystemExit("SBX has no small convolution")
        return DQN(
            "MlpPolicy" if flat else "CnnPolicy", minatar(flat), learning_rate=2.5e-4, buffer_size=100_000, batch_size=32,
            learning_starts=1000, train_freq=1, gradient_steps=1, target_update_interval=1000, policy_kwargs=kwargs, seed=0,
        )  # fmt: skip
    assert task == "atari"
    import ale_py
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gym.register_envs(ale_py)
    env = VecFrameStack(make_atari_env("BreakoutNoFrameskip-v4", n_envs=1, seed=0), n_stack=4)
    return DQN(
        "CnnPolicy", env, learning_rate=1e-4, buffer_size=20_000, batch_size=32, learning_starts=1000, train_freq=4, gradient_steps=1,
        target_update_interval=8000, optimize_memory_usage=False, seed=0,
    )  # fmt: skip


def stochastic(library: str, task: str):
    """SAC, or TQC with the five or two critics that ours has; Stable-Baselines3 has TQC in sb3-contrib."""
    if library == "sbx":
        from sbx import SAC, TQC
    else:
        from sb3_contrib import TQC
        from stable_baselines3 import SAC
    common: dict = {"learning_rate": 3e-4, "batch_size": 256, "learning_starts": 1000, "train_freq": 1, "gradient_steps": 1, "seed": 0}
    env = gym.make("HalfCheetah-v5")
    if task == "sac":
        return SAC("MlpPolicy", env, policy_kwargs={"net_arch": [256, 256]}, **common)
    critics = 2 if task == "tqc_two" else 5
    if library == "sbx" and critics != 2:
        raise SystemExit("SBX builds two critics, whatever n_critics says")
    kwargs = {"n_critics": critics, "n_quantiles": 25, "net_arch": {"pi": [256, 256], "qf": [512, 512, 512]}}
    return TQC("MlpPolicy", env, policy_kwargs=kwargs, **common)


MUJOCO = {"ppo_cheetah": "HalfCheetah-v5", "ppo_hopper": "Hopper-v5", "ppo_walker": "Walker2d-v5"}
"""Tasks of PPO with one environment"""


def proximal(library: str, task: str, seed: int):
    """PPO with the sizes that ours has on that task."""
    from stable_baselines3.common.env_util import make_vec_env

    if library == "sbx":
        from sbx import PPO
    else:
        from stable_baselines3 import PPO
    common: dict = {"seed": seed, "policy_kwargs": {"net_arch": [64, 64], "activation_fn": tanh(library)}}
    if task == "ppo_cartpole_8":
        sizes: dict = {"n_steps": 128, "batch_size": 256, "n_epochs": 4, "learning_rate": 2.5e-4, "ent_coef": 0.01, "clip_range": 0.2}
        return PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=8, seed=seed), **sizes, **common)
    if task == "ppo_cartpole":
        sizes = {"n_steps": 128, "batch_size": 128, "n_epochs": 4, "learning_rate": 2.5e-4, "ent_coef": 0.01, "clip_range": 0.2}
        return PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=4, seed=seed), **sizes, **common)
    sizes = {"n_steps": 2048, "batch_size": 64, "n_epochs": 10, "learning_rate": 3e-4}
    return PPO("MlpPolicy", make_vec_env(MUJOCO[task], n_envs=1, seed=seed), **sizes, **common)


def tanh(library: str):
    if library == "sbx":
        from flax import linen

        return linen.tanh
    return torch.nn.Tanh


def main() -> None:
    (library, _, flush), task, warm_up = sys.argv[1].partition("+"), sys.argv[2], int(sys.argv[3])
    if flush:
        torch.set_flush_denormal(True)
    gate = Gate(warm_up)
    chosen = model(library, task)
    folder = tempfile.mkdtemp()
    chosen.set_logger(configure(folder, ["csv", "tensorboard"]))
    callbacks: list[BaseCallback] = [AtGate(gate)]
    if task in ("td3", "sac", "tqc", "tqc_two") and sys.argv[4:] != ["bare"]:
        callbacks.append(EvalCallback(gym.make("HalfCheetah-v5"), n_eval_episodes=10, eval_freq=5000, verbose=0, warn=False))
        callbacks.append(CheckpointCallback(50_000, folder))
    chosen.learn(10_000_000, callback=callbacks)


if __name__ == "__main__":
    main()
