"""Published settings: what a preset has of its paper or its authors' code. A target entropy is one of each dimension."""

from __future__ import annotations

import pytest

from deeprl.running.config.rules import get
from tests.builders import settled

PUBLISHED = {
    "iS-QL on Atari, the example of its authors' README": (
        "agent=is_dqn env=atari/pong",
        {
            "agent.chain.length": 9, "agent.chain.shift_period": 8000, "agent.torso.layer_norm": True, "agent.head.layer_norm": True,
            "agent.explore.schedule.end": 0.01, "agent.explore.schedule.duration": 250_000, "agent.explore.evaluation": 0.001,
        },
    ),
    "Gi-DQN on Atari; Adam's epsilon is doubled, because the authors' loss is half of ours": (
        "agent=gi_dqn env=atari/pong",
        {"agent.chain.length": 5, "agent.chain.shift_period": 8000, "agent.optimizer.eps": 3e-4, "agent.explore.schedule.end": 0.01},
    ),
    "i-IQN on Atari": (
        "agent=iiqn env=atari/pong",
        {"agent.chain.length": 3, "agent.chain.shift_period": 6000, "agent.chain.sync_period": 30, "replay.n_step": 3},
    ),
    "PQN, CleanRL's rates on classic control": (
        "agent=pqn env=classic/cartpole",
        {
            "agent.optimizer.lr": 2.5e-4, "agent.optimizer.max_grad_norm": 10.0, "agent.optimizer.schedule.end": 0.0,
            "agent.backup.lam": 0.65, "agent.explore.schedule.end": 0.05, "agent.explore.schedule.duration": 250_000,
            "agent.explore.schedule.begin": 0, "env.num": 4, "replay.length": 128, "replay.epochs": 4, "replay.minibatches": 4,
        },
    ),
    "PQN, the authors' MinAtar": (
        "agent=pqn env=minatar/breakout",
        {
            "agent.optimizer.lr": 5e-4, "agent.explore.schedule.end": 0.05, "agent.explore.schedule.duration": 200_000, "env.num": 128,
            "replay.length": 32, "replay.epochs": 2, "replay.minibatches": 32,
        },
    ),
    "PQN on Atari: CleanRL's, but for the authors' two passes": (
        "agent=pqn env=atari/pong",
        {
            "env.num": 8, "replay.length": 128, "replay.epochs": 2, "replay.minibatches": 4, "agent.explore.schedule.end": 0.01,
            "agent.explore.schedule.duration": 1_000_000,
        },
    ),
    "A2C of Stable-Baselines3": (
        "agent=a2c env=classic/cartpole",
        {
            "agent.lam": 1.0, "agent.optimizer.lr": 7e-4, "agent.optimizer.decay": 0.99, "agent.optimizer.eps": 1e-10,
            "agent.optimizer.max_grad_norm": 0.5, "replay.length": 5, "replay.epochs": 1, "replay.minibatches": 1,
        },
    ),
    "PPO, which Stable-Baselines3 and CleanRL share on MuJoCo": (
        "agent=ppo env=mujoco/hopper",
        {
            "agent.optimizer.lr": 3e-4, "agent.optimizer.eps": 1e-5, "agent.lam": 0.95, "agent.surrogate.clip": 0.2, "replay.length": 2048,
            "replay.epochs": 10, "replay.minibatches": 32, "env.num": 1,
        },
    ),
    "PPO of Stable-Baselines3's zoo on LunarLander": (
        "agent=ppo env=box2d/lunar_lander",
        {
            "steps": 1_000_000, "discount": 0.999, "agent.lam": 0.98, "agent.surrogate.entropy_weight": 0.01, "agent.optimizer.lr": 3e-4,
            "env.num": 16, "replay.length": 1024, "replay.epochs": 4, "replay.minibatches": 256,
        },
    ),
    "CrossQ": (
        "agent=crossq env=mujoco/hopper",
        {
            "agent.torso.hidden": [2048, 2048], "agent.actor_period": 3, "agent.optimizer.lr": 1e-3, "agent.optimizer.betas": [0.5, 0.999],
            "agent.actor_optimizer.lr": 1e-3, "agent.actor_optimizer.betas": [0.5, 0.999], "replay.learning_starts": 5000,
        },
    ),
    "SimBa": (
        "agent=simba env=mujoco/hopper",
        {
            "agent.optimizer.lr": 1e-4, "agent.optimizer.weight_decay": 0.01, "agent.actor_optimizer.lr": 1e-4,
            "agent.actor_optimizer.weight_decay": 0.01, "agent.temperature.value": 0.01, "agent.temperature.target_entropy": -0.5,
            "agent.torso.width": 512, "agent.torso.blocks": 2, "agent.actor_torso.width": 128, "agent.actor_torso.blocks": 1,
            "replay.learning_starts": 5000, "replay.ratio": 2.0,
        },
    ),
    "BRO in its fast form": (
        "agent=bro env=mujoco/hopper",
        {
            "agent.optimizer.weight_decay": 1e-4, "agent.actor_optimizer.weight_decay": 1e-4, "agent.temperature.target_entropy": -0.5,
            "agent.head.quantiles": 100, "agent.resets.at": [25_000], "replay.ratio": 2.0, "replay.batch_size": 128,
            "replay.learning_starts": 2500,
        },
    ),
    "FlashSAC": (
        "agent=flash_sac env=mujoco/hopper",
        {
            "agent.chain.tau": 0.01, "agent.temperature.target_entropy": -0.47818, "agent.optimizer.schedule.end": 0.5,
            "agent.rewards.bound": 5.0, "agent.head.low": -5.0, "agent.head.high": 5.0, "agent.explore.longest": 16,
            "agent.actor_period": 2, "replay.batch_size": 512,
        },
    ),
    "XQC": (
        "agent=xqc env=mujoco/hopper",
        {
            "agent.chain.tau": 0.005, "agent.torso.hidden": [512] * 4, "agent.actor_torso.hidden": [256] * 4, "agent.head.atoms": 101,
            "agent.head.low": -5.0, "agent.head.high": 5.0, "agent.actor.low": -10.0, "agent.actor_period": 3, "discount": 0.995,
            "agent.temperature.value": 0.01, "agent.temperature.target_entropy": -0.5, "agent.optimizer.lr": 3e-4, "replay.ratio": 2,
            "agent.optimizer.schedule.end": 0.1, "agent.actor_optimizer.schedule.end": 0.7, "replay.learning_starts": 5000,
        },
    ),
    "ARO-DDPG": (
        "agent=aro_ddpg env=mujoco/hopper",
        {"agent.torso.hidden": [128, 128], "agent.actor_torso.hidden": [128, 128], "discount": 1.0, "replay.learning_starts": 5000},
    ),
    "BTR on Atari, VIPTankz/BeyondTheRainbowICML": (
        "experiment=btr_atari",
        {
            "agent.torso.channels": [32, 64, 64], "agent.torso.blocks": 2, "agent.torso.pool": 6, "agent.torso.head_hidden": [512],
            "agent.head.dueling": True, "agent.head.noisy": True, "agent.head.sigma": 0.5, "agent.head.samples": 8,
            "agent.head.target_samples": 8, "agent.head.policy_samples": 8, "agent.head.cosines": 64, "agent.head.first": 0,
            "agent.backup.scale": 0.9, "agent.backup.temperature": 0.03, "agent.backup.floor": -1.0, "discount": 0.997,
            "agent.optimizer.lr": 1e-4, "agent.optimizer.eps": 0.005 / 256, "agent.optimizer.max_grad_norm": 10.0,
            "agent.chain.target_update_period": 500 * 64, "agent.explore.schedule.decay": 2_000_000, "agent.explore.evaluation": 0.01,
            "agent.explore.schedule.end": 0.01, "agent.explore.schedule.duration": 25_000_000, "env.num": 64, "replay.batch_size": 256,
            "replay.n_step": 3, "replay.ratio": 1 / 64, "replay.learning_starts": 200_000, "replay.capacity": 2**20,
            "replay.sampler.alpha": 0.2, "replay.sampler.beta.start": 0.2, "replay.sampler.beta.end": 0.2, "env.protocol.sticky": 0.25,
        },
    ),
    "Munchausen IQN on Atari, google-research/munchausen_rl": (
        "experiment=munchausen_iqn_atari",
        {
            "agent.optimizer.lr": 5e-5, "agent.optimizer.eps": 3.125e-4, "agent.backup.temperature": 0.03, "agent.backup.scale": 0.9,
            "agent.backup.floor": -1.0, "agent.chain.target_update_period": 8000, "replay.learning_starts": 20_000, "replay.ratio": 0.25,
            "discount": 0.99, "agent.explore.schedule.end": 0.01, "agent.explore.schedule.duration": 250_000, "replay.n_step": 1,
            "agent.head.samples": 64, "agent.head.target_samples": 64, "agent.head.policy_samples": 32,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", PUBLISHED)
def test_a_preset_has_the_numbers_of_its_source(source):
    words, numbers = PUBLISHED[source]
    config = settled(*words.split())
    assert {key: get(config, key) for key in numbers} == numbers
