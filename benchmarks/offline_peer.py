"""A control: IQL and TD3+BC of d3rlpy on the data sets of `benchmarks.offline`, at equal networks, batches and updates.

    PEERS_PYTHON -m benchmarks.offline_peer --npz FOLDER/classic-pendulum/medium.npz --env Pendulum-v1 --json FILE

PEERS_PYTHON is an interpreter with d3rlpy, run in a checkout of this repository. `python -m benchmarks.offline --folder FOLDER --npz
medium` writes the arrays; FILE is benchmarks/results/offline_peer.json. d3rlpy's are the networks, the replay, the losses and the updates;
the evaluation is ours, and nothing of deeprl is imported. Networks and IQL's β are those of `benchmarks.offline`. A run that the file has
is not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

import d3rlpy
import gymnasium as gym
import numpy as np
import torch
from d3rlpy.dataset import MDPDataset
from d3rlpy.models import VectorEncoderFactory
from d3rlpy.preprocessing import StandardObservationScaler

EPISODES, RATE = 100, 1e-3
"""Of an evaluation; of learning, as in `benchmarks.offline`"""


def learner(name: str, hidden: list[int], beta: float):
    """With the settings of `benchmarks.offline`; d3rlpy has no schedule for the actor of IQL."""
    small = VectorEncoderFactory(hidden)
    common = {"batch_size": 256, "gamma": 0.95, "tau": 0.05, "observation_scaler": StandardObservationScaler()}
    common |= {"actor_learning_rate": RATE, "critic_learning_rate": RATE, "actor_encoder_factory": small, "critic_encoder_factory": small}
    if name == "td3_bc":
        return d3rlpy.algos.TD3PlusBCConfig(alpha=2.5, **common).create()
    return d3rlpy.algos.IQLConfig(expectile=0.7, weight_temp=beta, value_encoder_factory=small, **common).create()


def data_of(arrays) -> MDPDataset:
    """Transitions in order, cut where an episode ends."""
    ended, terminated = arrays["ended"].copy(), arrays["terminated"]
    ended[-1] = True
    return MDPDataset(
        arrays["obs"].astype(np.float32), arrays["action"].astype(np.float32), arrays["reward"].astype(np.float32),
        terminals=terminated.astype(np.float32), timeouts=(ended & ~terminated).astype(np.float32),
    )  # fmt: skip


def played(policy, env_id: str, seed: int) -> list[float]:
    """Returns of episodes of the policy's mean, whose actions in [-1, 1] are scaled to the bounds of the task."""
    env, found = gym.make(env_id), []
    low, high = env.action_space.low, env.action_space.high
    for episode in range(EPISODES):
        obs, _ = env.reset(seed=10_000 * (seed + 1) + episode)
        total, over = 0.0, False
        while not over:
            action = np.clip(policy.predict(np.asarray(obs, np.float32)[None])[0], -1.0, 1.0)
            obs, reward, terminated, truncated, _ = env.step(low + 0.5 * (action + 1.0) * (high - low))
            total, over = total + float(reward), terminated or truncated
        found.append(total)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True)
    parser.add_argument("--env", required=True, help="id of Gymnasium")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--learners", nargs="+", default=["iql", "td3_bc"], choices=["iql", "td3_bc"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=2_000)
    parser.add_argument("--hidden", nargs="+", type=int, default=[64, 64])
    parser.add_argument("--beta", type=float, default=0.3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    arrays = np.load(options.npz)
    random, expert = arrays["references"]
    for name in options.learners:
        for seed in options.seeds:
            lines = json.loads(options.json.read_text()) if options.json.exists() else []
            own = {"set": options.npz.stem, "env": options.env, "learner": name, "seed": seed, "updates": options.updates}
            if any(own.items() <= line.items() for line in lines):
                continue
            d3rlpy.seed(seed)
            began, policy = time.process_time(), learner(name, options.hidden, options.beta)
            logger = d3rlpy.logging.NoopAdapterFactory()
            policy.fit(data_of(arrays), options.updates, options.updates, logger_adapter=logger, show_progress=False)
            returns = played(policy, options.env, seed)
            own |= {
                "final": round(float(np.mean(returns)), 2), "std": round(float(np.std(returns)), 2),
                "score": round(100 * (float(np.mean(returns)) - random) / (expert - random), 1),
                "processor_seconds": round(time.process_time() - began, 1), "hidden": options.hidden, "beta": options.beta,
                "d3rlpy": version("d3rlpy"), "torch": torch.__version__,
            }  # fmt: skip
            options.json.write_text("[\n" + ",\n".join(json.dumps(line) for line in [*lines, own]) + "\n]\n")
            print(f"{own['set']} {name} {seed}: {own['final']} ({own['score']})", flush=True)


if __name__ == "__main__":
    main()
