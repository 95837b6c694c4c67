"""Learning of PPO in Stable-Baselines3, and with an LSTM in sb3-contrib, with the sizes of ours, as a line for the table of learning runs.

    PEERS_PYTHON -m benchmarks.peer_learning ppo_cartpole|ppo_cheetah|ppo_hopper|ppo_walker --seed 0 --final 50 --json FILE
    PEERS_PYTHON -m benchmarks.peer_learning repeat|memory --steps 100000 --every 10000 --json FILE

PEERS_PYTHON is an interpreter that has stable-baselines3 (sb3-contrib; popgym, minigrid), of a checkout of this repository. Evaluations
are 10 episodes of the most likely action, or the mean, in an environment of their own.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from benchmarks.speed import contrib
from benchmarks.speed.peers import model

TASKS = {
    "ppo_cartpole": ("CartPole-v1", "classic/cartpole"),
    "ppo_cheetah": ("HalfCheetah-v5", "mujoco/half_cheetah"),
    "ppo_hopper": ("Hopper-v5", "mujoco/hopper"),
    "ppo_walker": ("Walker2d-v5", "mujoco/walker2d"),
}
REMEMBERING = {task: f"gym/{contrib.TASKS[task].id}" for task in ("repeat", "memory")}


class Curve(BaseCallback):
    """Mean return of 10 episodes, on a period of steps."""

    def __init__(self, every: int, env):
        super().__init__()
        self.every, self.env, self.due = every, env, every
        self.found: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.due:
            mean, _ = evaluate_policy(self.model, self.env, n_eval_episodes=10)
            self.found.append((self.due, round(float(mean), 2)))
            self.due += self.every
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=[*TASKS, *REMEMBERING])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=50_000)
    parser.add_argument("--final", type=int, default=10, help="episodes of the final evaluation")
    parser.add_argument("--json", type=Path, required=True, help="a list of such lines, to which this one is added")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seed = 10_000 + options.seed
    if options.task in REMEMBERING:
        peer, library, env = "sb3-contrib", "sb3-contrib", REMEMBERING[options.task]
        evaluation = contrib.made(contrib.TASKS[options.task], 1, seed)
    else:
        peer, library, (name, env) = "sb3", "Stable-Baselines3", TASKS[options.task]
        evaluation = make_vec_env(name, n_envs=1, seed=seed)
    chosen, curve = model(peer, options.task, options.seed), Curve(options.every, evaluation)
    began = time.perf_counter()
    chosen.learn(options.steps, callback=curve)
    seconds = time.perf_counter() - began
    final, _ = evaluate_policy(chosen, evaluation, n_eval_episodes=options.final)
    line = {
        "name": f"ppo of {library}", "agent": "ppo", "env": env, "seed": options.seed, "steps": options.steps,
        "mode": f"{library.lower()} {version(library)}", "curve": curve.found,
        "last_four": round(sum(mean for _, mean in curve.found[-4:]) / 4, 2),
        "final": {"mean": round(float(final), 3), "episodes": options.final},
        "steps_per_second": options.steps / seconds, "wall_seconds": seconds, "machine": f"{platform.machine()}, torch {torch.__version__}",
    }  # fmt: skip
    old = json.loads(options.json.read_text()) if options.json.exists() else []
    options.json.write_text("[\n" + ",\n".join(json.dumps(each) for each in [*old, line]) + "\n]\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
