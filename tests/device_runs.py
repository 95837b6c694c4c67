"""A short run on a device, resumed and read back, and its crossings by phase and file."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from deeprl.learning.agent import Agent
from deeprl.replay.replay import Replay
from deeprl.replay.rollout import Rollout
from deeprl.running.accelerate import modes
from deeprl.running.config.dry_run import made_up_batch
from deeprl.running.session import api, session
from deeprl.running.training import trainer
from deeprl.running.training.collector import Collector
from deeprl.running.training.device_collector import DeviceCollector
from deeprl.running.training.guard import Guard
from deeprl.running.training.learner import Learner
from deeprl.running.training.trainer import Trainer
from tests.builders import settled
from tests.presets import OF_TRANSITIONS
from tests.pretended import Pretended
from tests.promises.test_resume import assert_same_run

SHORT = (
    "env.num=2", "steps=72", "replay.learning_starts=32", "replay.ratio=0.5", "replay.capacity=64", "replay.n_step=1",
    "evaluation.every=40",
    "evaluation.episodes=1", "evaluation.final_episodes=1", "checkpoint.every=60", "log.every=24", "runtime.threads=1",
    "accelerate.mode=reference", "accelerate.matmul_precision=highest",
)  # fmt: skip
"""72 steps: the ring wraps, and 20 updates are more than the 16 between two checks of the guard"""
DISCRETE = ("replay.batch_size=8", "agent.explore.schedule.duration=48", "agent.optimizer.schedule.duration=96")
"""A rate that falls to zero is not there where the resumed run ends, so that its updates change weights"""
SINGLE = ("agent.chain.target_update_period=10",)
ITERATED = ("agent.chain.length=3", "agent.chain.shift_period=20", "agent.chain.sync_period=6", "agent.chain.torso=shared")
CARTPOLE = ("env=classic/cartpole", "agent.torso.hidden=[8]", *DISCRETE)
MINATAR = ("env=minatar/breakout", "agent/torso=minatar", "agent.torso.channels=4", "agent.torso.head_hidden=[8]", *DISCRETE)
PENDULUM = (
    "env=mujoco/inverted_pendulum", "agent.actor_torso.hidden=[8]", "agent.torso.hidden=[8]", "agent.explore.random_steps=40",
    "replay.batch_size=8",
)  # fmt: skip


def updated(agent: Agent, device: str) -> dict[str, torch.Tensor]:
    """The state of an agent there after updates on made-up batches, one for each objective at least. Metrics are read."""
    modes.apply(agent, "reference")
    learner = Learner(agent, lambda batch: batch)
    for step in (1, 2):
        size = (4, 3) if agent.needs & {"sequences", "state", "trajectories"} else (3,)
        agent.read(learner.update(made_up_batch(agent, agent.spec, size, device, seed=step)).metrics)
        agent.tick(step - 1, step)
    return {name: tensor.cpu() for name, tensor in agent.state_dict().items()}


PHASES = {
    "tick": (Collector, "tick"),
    "tick on the device": (DeviceCollector, "tick"),
    "preparation of a rollout": (Rollout, "prepared"),
    "draw": (Replay, "draw"),
    "draw of a rollout": (Rollout, "gathered"),
    "learn": (Trainer, "learn"),
    "maintain": (Agent, "tick"),
    "check": (Guard, "check"),
    "metrics": (trainer, "metrics_of"),
    "evaluate": (Trainer, "evaluate"),
    "save": (Trainer, "save"),
    "restore": (Trainer, "restore"),
}


@contextlib.contextmanager
def phases(device: Pretended) -> Iterator[Counter]:
    """Most crossings that one call of a phase makes, "phase file kind" -> number, without those of a phase inside it."""
    most: Counter[str] = Counter()

    def within(phase: str, plain):
        def called(*args, **kwargs):
            before = device.crossings.copy()
            with device.during(phase):
                result = plain(*args, **kwargs)
            for (name, kind, file), number in (device.crossings - before).items():
                if name == phase:
                    key = f"{phase} {re.sub('^deeprl/((learning|running)/)?', '', file)} {kind}"
                    most[key] = max(most[key], number)
            return result

        return called

    with contextlib.ExitStack() as patches:
        for phase, (owner, name) in PHASES.items():
            patches.enter_context(mock.patch.object(owner, name, within(phase, getattr(owner, name))))
        yield most


def begin(path: Path, device: str, *words: str) -> dict:
    """72 steps. Returns the configuration."""
    path.mkdir(parents=True)
    rollouts = any(word in ("agent=pqn", "agent=ppo") for word in words)
    short = [word for word in SHORT if not (rollouts and word.split("=")[0] in OF_TRANSITIONS)]
    config = settled(*short, *words, f"device={device}")
    session.train(config, path)
    return config


def run(path: Path, device: str, *words: str) -> list:
    """72 steps, then on to 80 from the last checkpoint. Returns actions of the agent that is read from the folder."""
    config = begin(path, device, *words)
    session.train({**config, "steps": 80}, path, resume=True)
    loaded = api.load(path)
    spec = loaded.agent.spec
    return loaded.act(np.ones((3, *spec.obs_shape), str(spec.obs_dtype).removeprefix("torch."))).tolist()


FREE = ("evaluate", "save", "restore")
ALWAYS = {
    "tick system/staging.py to device, no wait": 1,  # observations
    "tick parts/exploration.py to host": 1,  # actions
    "check optim/finite.py read": 1,
    "check training/crash.py read": 1,  # all weights, before a checkpoint
    "metrics agent.py read": 1,
}


ROWS = {"draw system/staging.py to device, no wait": 2}  # the new rows and the places of the batch
NOISE = {"learn system/staging.py to device, no wait": 1}  # once in 64 updates
NOISY_ROWS = ROWS | NOISE
GATHERED = {"draw system/staging.py to device, no wait": 1}  # the batch, from main memory


def check_device(folder: Path, words: Sequence[str], own: dict[str, int]) -> None:
    """A run on the pretended device is the run on the CPU, and crosses to the host where `ALWAYS` and `own` say.

    Args:
        own: most crossings of one call, "phase file kind" -> number. Each needs a reason, because the host waits there.
    """
    action = run(folder / "cpu", "cpu", *words)
    with Pretended() as device, phases(device) as most:
        there = run(folder / "cuda", "cuda", *words)
    assert not device.faults
    expected = {key: number for key, number in (ALWAYS | own).items() if number}
    found = {key: number for key, number in most.items() if not key.startswith(FREE)}
    other = {key: f"{found.get(key, 0)}, not {expected.get(key, 0)}" for key in {*found, *expected} if found.get(key) != expected.get(key)}
    assert not other, f"crossings to the host, of which each needs a reason in `own`: {other}"
    assert there == action
    assert_same_run(folder / "cpu", folder / "cuda")
