"""A contestant: PQN on Breakout in plain PyTorch, a loop in one file as CleanRL writes its agents, with the sizes of its PQN on Atari.

    python -m benchmarks.speed.plain_pqn WARM_UP

Eight games in ALE's vector, rollouts of 128 ticks, 4 passes of 4 updates, Nature network with layer normalisation, RAdam. It neither
evaluates, logs, nor saves; rewards are clipped by the environment, and a time limit counts as a termination.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import torch
from torch import nn

from benchmarks.speed.gate import Gate

GAMES, TICKS, PASSES, PARTS = 8, 128, 4, 4
DISCOUNT, LAM, EPSILON, LARGEST_NORM = 0.99, 0.65, 0.1, 10.0


def network(actions: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 32, 8, stride=4), nn.LayerNorm([32, 20, 20]), nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2), nn.LayerNorm([64, 9, 9]), nn.ReLU(),
        nn.Conv2d(64, 64, 3), nn.LayerNorm([64, 7, 7]), nn.ReLU(),
        nn.Flatten(), nn.Linear(3136, 512), nn.LayerNorm(512), nn.ReLU(), nn.Linear(512, actions),
    )  # fmt: skip


def main() -> None:
    from ale_py.vector_env import AtariVectorEnv

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    gate = Gate(int(sys.argv[1]))
    envs = AtariVectorEnv("breakout", GAMES, reward_clipping=True, autoreset_mode="SameStep")
    count = int(envs.single_action_space.n)
    net, random = network(count), np.random.default_rng(0)
    optimizer = torch.optim.RAdam(net.parameters(), lr=2.5e-4)
    frames, _ = envs.reset(seed=0)
    obs = torch.zeros(TICKS, GAMES, 4, 84, 84, dtype=torch.uint8)
    actions = torch.zeros(TICKS, GAMES, dtype=torch.int64)
    rewards, ends, values = (torch.zeros(TICKS, GAMES) for _ in range(3))
    returns = torch.zeros(TICKS, GAMES)
    while True:
        for tick in range(TICKS):
            obs[tick] = torch.as_tensor(frames)
            with torch.no_grad():
                q = net(obs[tick].float() / 255.0)
            values[tick] = q.max(1).values
            chosen = np.where(random.random(GAMES) < EPSILON, random.integers(count, size=GAMES), q.argmax(1).numpy())
            actions[tick] = torch.as_tensor(chosen)
            frames, reward, terminated, truncated, _ = envs.step(chosen)
            rewards[tick], ends[tick] = torch.as_tensor(reward), torch.as_tensor(terminated | truncated).float()
            gate.passed(GAMES)
        with torch.no_grad():
            following = net(torch.as_tensor(frames).float() / 255.0).max(1).values
        returns[-1] = rewards[-1] + DISCOUNT * (1 - ends[-1]) * following
        for tick in reversed(range(TICKS - 1)):
            mixed = LAM * returns[tick + 1] + (1 - LAM) * values[tick + 1]
            returns[tick] = rewards[tick] + DISCOUNT * (1 - ends[tick]) * mixed
        flat_obs, flat_actions, flat_returns = obs.flatten(0, 1), actions.flatten(), returns.flatten()
        for _ in range(PASSES):
            for part in np.split(random.permutation(TICKS * GAMES), PARTS):
                q = net(flat_obs[part].float() / 255.0).gather(1, flat_actions[part].unsqueeze(1)).squeeze(1)
                loss = nn.functional.mse_loss(q, flat_returns[part])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), LARGEST_NORM)
                optimizer.step()


if __name__ == "__main__":
    main()
