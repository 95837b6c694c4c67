"""Short runs on a real GPU. They are skipped without one; tests/test_device.py has the same runs on a pretended device."""

from __future__ import annotations

import pytest
import torch

from deeprl.runs.checkpoints import Checkpoints
from tests.device_runs import run
from tests.promises.test_resume import assert_same_run
from tests.test_device import GRAPHS, PATHS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

DETERMINISTIC = ("runtime.deterministic=true",)


def weights(path) -> dict[str, torch.Tensor]:
    _, parts = Checkpoints(path).load("last")
    return {name: tensor for name, tensor in parts["agent"]["module"].items() if tensor.is_floating_point()}


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-2, atol=1e-3, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", PATHS)
def test_a_run_ends_near_that_of_the_cpu(name, tmp_path):
    words, _ = PATHS[name]
    run(tmp_path / "cpu", "cpu", *words)
    run(tmp_path / "cuda", "cuda", *words)
    assert_close(weights(tmp_path / "cpu"), weights(tmp_path / "cuda"))


@pytest.mark.parametrize("name", ["dqn", "td3", "iiqn prioritized"])
def test_a_deterministic_run_repeats_itself(name, tmp_path):
    words, _ = PATHS[name]
    for folder in ("first", "again"):
        run(tmp_path / folder, "cuda", *words, *DETERMINISTIC)
    assert_same_run(tmp_path / "first", tmp_path / "again")


@pytest.mark.parametrize("name", GRAPHS)
def test_cuda_graphs_end_near_their_operators(name, tmp_path, capfd):
    for mode in ("reference", "compiled"):
        run(tmp_path / mode, "cuda", *GRAPHS[name], f"accelerate.mode={mode}")
    assert "could not be" not in capfd.readouterr().err
    assert_close(weights(tmp_path / "reference"), weights(tmp_path / "compiled"))
