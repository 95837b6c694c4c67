"""Fixtures of all tests: one thread, and one finished run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deeprl.cli import exits
from tests.builders import CARTPOLE, front_door

torch.set_num_threads(1)  # small tensors; and the machine is shared


@pytest.fixture(autouse=True)
def one_thread():
    """A run pins its own number of threads and its own product, for the whole process."""
    yield
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """DQN on CartPole: 300 steps of two environments, 120 updates."""
    path = tmp_path_factory.mktemp("cli") / "finished"
    assert front_door(*CARTPOLE, f"hydra.run.dir={path}") == exits.FINISHED
    return path
