"""A control: BC, CQL, IQL and TD3+BC of d3rlpy on the data sets of `benchmarks.offline`, at equal networks, batches, rates and updates.

    PEERS_PYTHON -m benchmarks.offline_peer --npz FOLDER/classic-pendulum/medium.npz --env Pendulum-v1 --json FILE

PEERS_PYTHON is an interpreter with d3rlpy, run in a checkout of this repository. `python -m benchmarks.offline --folder FOLDER --npz
medium` writes the arrays; FILE is benchmarks/results/offline_peer.json. d3rlpy's are the networks, the replay, the losses and the updates;
the evaluation is ours, and nothing of deeprl is imported. A run that the file has is not made again. Settings are those of
`benchmarks.offline`, as far as d3rlpy has them: its IQL has no schedule of the actor's rate, its BC is the squared error of a deterministic
policy, and its CQL bootstraps from the policy's mode. `python -m benchmarks.offline --table` prints both beside each other. The rule,
written when two of its runs on MuJoCo were known (bc, medium-expert, seeds 0 and 1): medium-replay and medium-expert of Hopper and
HalfCheetah, on which the verdicts of `benchmarks.offline` rest, an interval of Welch of 95 % for each set and learner; of 16 about one
misses 0 by chance. The two other sets are left out for the time that d3rlpy takes (`processor_seconds`).
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import d3rlpy
import gymnasium as gym
import numpy as np
import torch
from d3rlpy.dataset import MDPDataset
from d3rlpy.models import VectorEncoderFactory
from d3rlpy.preprocessing import StandardObservationScaler

EPISODES, RATE, HIDDEN = 100, 1e-3, [64, 64]
"""Of an evaluation; of learning, and of all networks, as in `benchmarks.offline`"""
LEARNERS = ("bc", "cql", "iql", "td3_bc")


class Task(NamedTuple):
    """Settings that differ between the tasks of `benchmarks.offline`."""

    updates: int
    discount: float
    tau: float
    """Of target networks"""
    beta: float
    """Of IQL"""


LARGE = Task(20_000, 0.99, 0.005, 3.0)
TASKS = {"Pendulum-v1": Task(2_000, 0.95, 0.05, 0.3), "Hopper-v5": LARGE, "HalfCheetah-v5": LARGE}


def learner(name: str, task: Task):
    """With the settings of `benchmarks.offline`. CQL's weight is fixed: d3rlpy's multiplier, which begins with 1, is not learned."""
    small = VectorEncoderFactory(HIDDEN)
    common = {"batch_size": 256, "gamma": task.discount, "observation_scaler": StandardObservationScaler()}
    if name == "bc":
        return d3rlpy.algos.BCConfig(learning_rate=RATE, encoder_factory=small, **common).create()
    common |= {"tau": task.tau, "actor_learning_rate": RATE, "critic_learning_rate": RATE}
    common |= {"actor_encoder_factory": small, "critic_encoder_factory": small}
    if name == "td3_bc":
        return d3rlpy.algos.TD3PlusBCConfig(alpha=2.5, **common).create()
    if name == "cql":
        fixed = {"conservative_weight": 10.0, "n_action_samples": 4, "alpha_learning_rate": 0.0, "temp_learning_rate": RATE}
        return d3rlpy.algos.CQLConfig(**fixed, **common).create()
    return d3rlpy.algos.IQLConfig(expectile=0.7, weight_temp=task.beta, value_encoder_factory=small, **common).create()


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
    parser.add_argument("--env", required=True, choices=TASKS)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--learners", nargs="+", default=LEARNERS, choices=LEARNERS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    arrays, task = np.load(options.npz), TASKS[options.env]
    random, expert = arrays["references"]
    for name in options.learners:
        for seed in options.seeds:
            lines = json.loads(options.json.read_text()) if options.json.exists() else []
            own = {"set": options.npz.stem, "env": options.env, "learner": name, "seed": seed, "updates": task.updates}
            if any(own.items() <= line.items() for line in lines):
                continue
            d3rlpy.seed(seed)
            began, policy = time.process_time(), learner(name, task)
            logger = d3rlpy.logging.NoopAdapterFactory()
            policy.fit(data_of(arrays), task.updates, task.updates, logger_adapter=logger, show_progress=False)
            returns = played(policy, options.env, seed)
            own |= {
                "final": round(float(np.mean(returns)), 2), "std": round(float(np.std(returns)), 2),
                "score": round(100 * (float(np.mean(returns)) - random) / (expert - random), 1),
                "processor_seconds": round(time.process_time() - began, 1), "hidden": HIDDEN, **task._asdict(),
                "d3rlpy": version("d3rlpy"), "torch": torch.__version__,
            }  # fmt: skip
            options.json.write_text("[\n" + ",\n".join(json.dumps(line) for line in [*lines, own]) + "\n]\n")
            print(f"{own['set']} {name} {seed}: {own['final']} ({own['score']})", flush=True)


if __name__ == "__main__":
    main()
