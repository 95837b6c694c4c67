"""A control: DQN, QR-DQN, IQN and C51 of Tianshou on a game of MinAtar, with the settings of the set `control` of benchmarks.recipes.

    PEERS_PYTHON -m benchmarks.control --json benchmarks/results/control.json [--agents dqn c51] [--seeds 0 1] [--game asterix]

PEERS_PYTHON is an interpreter with tianshou and minatar, run in a checkout of this repository. Tianshou's are the networks' heads, the
policies, the replay, the targets, the losses and the updates; the loop around them, the game's wrapper and the evaluation are ours, and
import nothing of deeprl. Each run is a line like those of benchmarks.learning; a run that the file has is not made again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from minatar import Environment
from tianshou.algorithm.modelfree.c51 import C51, C51Policy
from tianshou.algorithm.modelfree.dqn import DQN, DiscreteQLearningPolicy
from tianshou.algorithm.modelfree.iqn import IQN, IQNPolicy
from tianshou.algorithm.modelfree.qrdqn import QRDQN, QRDQNPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, ReplayBuffer
from tianshou.utils.net.common import ModuleWithVectorOutput
from tianshou.utils.net.discrete import ImplicitQuantileNetwork
from tianshou.utils.torch_utils import policy_within_training_step

ACTIONS, LIMIT = 6, 10_000
STARTS, PERIOD, BATCH, CAPACITY = 10_000, 4, 32, 100_000
"""Random steps, steps for an update, and of the replay"""
TARGET_UPDATES = 250
"""Updates for a copy of the target network: 1,000 steps"""
EXPLORATION = (1.0, 0.1, 0.1)
"""Of ε: start, end, and the share of all steps over which it falls, after the random ones"""
LEARNING_RATE, EPSILON_OF_ADAM = 2.5e-4, 1e-8
ATOMS, LOW, HIGH, QUANTILES, SAMPLES = 51, 0.0, 25.0, 32, 8


class Game:
    """A game of MinAtar with the channels first, sticky with probability 0.1, ended after 10,000 steps."""

    def __init__(self, name: str):
        self.game = Environment(name, sticky_action_prob=0.1, difficulty_ramping=True)

    def seed(self, seed: int) -> None:
        self.game.seed(seed)

    def reset(self) -> np.ndarray:
        self.game.last_action, self.elapsed = 0, 0
        self.game.reset()
        return self.observe()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        reward, terminated = self.game.act(action)
        self.elapsed += 1
        return self.observe(), float(reward), bool(terminated), self.elapsed >= LIMIT and not terminated

    def observe(self) -> np.ndarray:
        return self.game.state().transpose(2, 0, 1).astype(np.uint8)


class Convolution(ModuleWithVectorOutput):
    """16 kernels of 3 × 3, as in the MinAtar paper: (B, C, 10, 10) bytes to (B, 1024)."""

    def __init__(self, channels: int):
        super().__init__(1024)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(channels, 16, 3), torch.nn.ReLU(), torch.nn.Flatten())

    def forward(self, obs, state=None, info=None):
        return self.layers(torch.as_tensor(obs, dtype=torch.float32)), state


class Network(torch.nn.Module):
    """Convolution, a layer of 128, and `outputs` numbers an action, as probabilities where `softmax` says so."""

    def __init__(self, channels: int, outputs: int, softmax: bool = False):
        super().__init__()
        self.torso = Convolution(channels)
        self.head = torch.nn.Sequential(torch.nn.Linear(1024, 128), torch.nn.ReLU(), torch.nn.Linear(128, ACTIONS * outputs))
        self.outputs, self.softmax = outputs, softmax

    def forward(self, obs, state=None, info=None):
        found = self.head(self.torso(obs)[0])
        if self.outputs > 1:
            found = found.unflatten(1, (ACTIONS, self.outputs))
        return found.softmax(-1) if self.softmax else found, state


def algorithm(name: str, channels: int, discount: float = 0.99):
    """One of Tianshou's. Its distributional ones choose the actions of targets by the online network, so that DQN does here too."""
    space = gym.spaces.Discrete(ACTIONS)
    common = {
        "optim": AdamOptimizerFactory(lr=LEARNING_RATE, eps=EPSILON_OF_ADAM),
        "gamma": discount,
        "target_update_freq": TARGET_UPDATES,
    }
    if name == "dqn":
        return DQN(policy=DiscreteQLearningPolicy(model=Network(channels, 1), action_space=space), is_double=True, **common)
    if name == "c51":
        network = Network(channels, ATOMS, softmax=True)
        return C51(policy=C51Policy(model=network, action_space=space, num_atoms=ATOMS, v_min=LOW, v_max=HIGH), **common)
    if name == "qrdqn":
        policy = QRDQNPolicy(model=Network(channels, QUANTILES), action_space=space)
        return QRDQN(policy=policy, num_quantiles=QUANTILES, **common)
    implicit = ImplicitQuantileNetwork(preprocess_net=Convolution(channels), action_shape=ACTIONS, hidden_sizes=(128,))
    samples = {"sample_size": SAMPLES, "online_sample_size": SAMPLES, "target_sample_size": SAMPLES}
    return IQN(policy=IQNPolicy(model=implicit, action_space=space, **samples), **common)


def greedy(policy, obs: Sequence[np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return policy(Batch(obs=np.stack(obs), info=Batch())).act


def evaluate(policy, games: Sequence[Game], episodes: int) -> float:
    """Mean return of greedy episodes: each game plays the same number of them, so that short episodes are not preferred."""
    policy.eval()
    total = 0.0
    for _ in range(episodes // len(games)):
        playing = {game: game.reset() for game in games}
        while playing:
            actions = greedy(policy, list(playing.values()))
            for game, action in zip(list(playing), actions, strict=True):
                playing[game], reward, terminated, truncated = game.step(int(action))
                total += reward
                if terminated or truncated:
                    del playing[game]
    return total / episodes


def train(name: str, game: str, seed: int, steps: int, every: int) -> dict:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (Tianshou's replay draws from it)
    draws = np.random.default_rng(seed)
    env, tests = Game(game), [Game(game) for _ in range(20)]
    for place, each in enumerate([env, *tests]):
        each.seed(1000 * seed + place)
    obs = env.reset()
    chosen = algorithm(name, len(obs))
    replay = ReplayBuffer(CAPACITY)
    curve = []
    began = time.perf_counter()
    start, end, share = EXPLORATION
    for step in range(1, steps + 1):
        epsilon = start + (end - start) * min(1.0, max(0.0, (step - STARTS) / (share * steps)))
        explores = step <= STARTS or draws.random() < epsilon
        action = int(draws.integers(ACTIONS)) if explores else int(greedy(chosen.policy.eval(), [obs])[0])
        following, reward, terminated, truncated = env.step(action)
        replay.add(Batch(obs=obs, act=action, rew=reward, terminated=terminated, truncated=truncated, obs_next=following, info=Batch()))
        obs = env.reset() if terminated or truncated else following
        if step > STARTS and step % PERIOD == 0:
            with policy_within_training_step(chosen.policy):
                chosen.update(replay, BATCH)
        if step % every == 0:
            curve.append((step, round(evaluate(chosen.policy, tests, 20), 3)))
    final = evaluate(chosen.policy, tests, 100)
    seconds = time.perf_counter() - began
    commit = subprocess.run(["git", "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "name": f"{name} of Tianshou", "agent": name, "env": f"minatar/{game}", "seed": seed, "steps": steps,
        "mode": f"tianshou {version('tianshou')}", "curve": curve, "last_four": round(sum(mean for _, mean in curve[-4:]) / 4, 3),
        "final": {"mean": final, "episodes": 100}, "steps_per_second": steps / seconds, "wall_seconds": seconds,
        "commit": commit, "machine": f"{platform.machine()}, torch {torch.__version__}",
    }  # fmt: skip


def stored(results: Path) -> list[dict]:
    return json.loads(results.read_text()) if results.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="*", default=["dqn", "qrdqn", "iqn", "c51"])
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(5)))
    parser.add_argument("--game", default="asterix")
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--every", type=int, default=20_000, help="steps for an evaluation of 20 episodes")
    parser.add_argument("--json", type=Path, required=True, help="a list of such lines, to which these are added")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for seed in options.seeds:
        for name in options.agents:
            asked = (f"{name} of Tianshou", f"minatar/{options.game}", seed, options.steps)
            if any((line["name"], line["env"], line["seed"], line["steps"]) == asked for line in stored(options.json)):
                continue
            line = train(name, options.game, seed, options.steps, options.every)
            with open(Path(__file__).with_name("learning.py")) as lock:  # its `keep` adds to the same file, under the same lock
                fcntl.flock(lock, fcntl.LOCK_EX)
                part = options.json.with_suffix(".partial")
                part.write_text("[\n" + ",\n".join(json.dumps(each) for each in [*stored(options.json), line]) + "\n]\n")
                part.replace(options.json)
            print(f"{line['name']}, seed {seed}: {line['final']['mean']:.1f}, {line['steps_per_second']:.0f} steps/s", flush=True)


if __name__ == "__main__":
    main()
