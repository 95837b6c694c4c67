"""A contestant: deeprl.

    python -m benchmarks.speed.ours update|learn|loop|silent WARM_UP [overrides]

`update` is the agent alone on batches at hand, `learn` also draws them from the replay, `loop` is `python train.py` with everything on,
`silent` the same without progress, TensorBoard and metrics files.
"""

from __future__ import annotations

import deeprl  # noqa: F401  (before torch, as every command of deeprl imports it, because it says how long torch's threads spin)

# isort: split
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.gate import Gate
from deeprl.noise import map_tensors
from deeprl.running.config.compose import compose
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.loggers import Loggers
from deeprl.running.session import session
from deeprl.running.session.assemble import assemble
from deeprl.running.session.complete import complete
from deeprl.running.training.collector import Collector
from deeprl.running.training.device_collector import DeviceCollector
from deeprl.running.training.trainer import Trainer
from deeprl.system.progress import Progress


def assembled(overrides: list[str], rows: int) -> Trainer:
    """A trainer whose replay holds `rows` steps."""
    config, user, _ = compose(overrides)
    trainer = assemble(complete(config, user), RunFolder(Path(tempfile.mkdtemp()) / "run"))
    for step in range(0, rows, trainer.envs.num):
        trainer.collector.tick(step)
    return trainer


def sample(trainer: Trainer) -> Any:
    """What one more update learns from."""
    return trainer.source.draw(trainer.source.uniforms.next()["u"], trainer.step)


def batches(trainer: Trainer, count: int) -> list:
    """Copies: the replay uses its buffers again."""
    found = []
    for _ in range(count):
        drawn = sample(trainer)._replace(noise=trainer.update_noise.next())
        found.append(map_tensors(torch.Tensor.clone, drawn))
    return found


def update(warm_up: int, overrides: list[str]) -> None:
    trainer = assembled(overrides, 2000)
    at_hand = itertools.cycle(batches(trainer, 8))
    gate = Gate(warm_up)
    while True:
        with trainer.guard.matmul_precision:
            trainer.guard.learner.update(next(at_hand))
        gate.passed()


def learn(warm_up: int, overrides: list[str]) -> None:
    trainer = assembled(overrides, 2000)
    gate = Gate(warm_up)
    while True:
        trainer.learn(sample(trainer))
        gate.passed()


def silent(warm_up: int, overrides: list[str]) -> None:
    def nothing(*args, **kwargs) -> None:
        pass

    for kind, methods in ((Loggers, ("scalars", "text", "hparams", "flush")), (Progress, ("update", "say"))):
        for name in methods:
            setattr(kind, name, nothing)
    loop(warm_up, [*overrides, "log.every=10000000"])


def loop(warm_up: int, overrides: list[str]) -> None:
    gate = Gate(warm_up)
    for kind in (Collector, DeviceCollector):

        def counted(self, step: int, tick=kind.tick) -> None:
            gate.passed(self.envs.num)  # before the step: whatever followed the last one belongs to its slice
            tick(self, step)

        kind.tick = counted  # type: ignore[method-assign]
    config, user, _ = compose(overrides)
    folder = Path(tempfile.mkdtemp()) / "run"
    folder.mkdir()
    session.train(complete(config, user), folder)


if __name__ == "__main__":
    {"update": update, "learn": learn, "loop": loop, "silent": silent}[sys.argv[1]](int(sys.argv[2]), sys.argv[3:])
