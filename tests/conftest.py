"""Fixtures of all tests: one thread, no waiting for the disk, no collection of garbage between runs, kernels of this processor, and one
finished run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deeprl.cli import exits
from deeprl.running.config import folders
from deeprl.running.session import assemble
from deeprl.running.training import trainer
from tests.builders import CARTPOLE, front_door

torch.set_num_threads(1)  # small tensors; and the machine is shared, with the other test process to begin with
assemble.MACHINE_THREADS = 1  # for runs that leave it to the rule
os.fsync = os.fstat  # no power cut ends a test; a wrong handle is still an error
trainer.settle_memory = lambda: None  # twice a run it would visit the objects of all tests so far
# compiled kernels of one instruction set abort or give NaN on another (ATEN_CPU_CAPABILITY), and inductor's own folder is the same for all
kernels = f"torchinductor_{os.getuid()}_{torch.backends.cpu.get_cpu_capability()}"
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / kernels))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(autouse=True)
def one_process():
    """What a command settles for its whole process: threads, product, determinism, and folders of configurations (`--config-dir`)."""
    yield
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    if torch.are_deterministic_algorithms_enabled():  # the call imports the compiler
        torch.use_deterministic_algorithms(False)
    folders._added.clear()


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Iterator[Path]:
    """DQN on CartPole: 300 steps of two environments, 120 updates."""
    path = tmp_path_factory.mktemp("cli") / "finished"
    assert front_door(*CARTPOLE, f"hydra.run.dir={path}") == exits.FINISHED
    before = contents(path)
    yield path
    assert contents(path) == before, "a test has changed the run that all tests read: it needs a copy"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != "lock"}
