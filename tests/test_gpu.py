"""Short runs on a real GPU, `pytest -m gpu`. They are skipped without one; tests/test_device.py has the same runs on a pretended device."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from deeprl.cli import exits
from deeprl.running.runs.checkpoints import Checkpoints
from tests.builders import begin, console, same
from tests.device_runs import CARTPOLE, MINATAR, PENDULUM, SHORT, SINGLE, run
from tests.promises.test_resume import assert_same_run, at_step
from tests.running.training.test_crash import poison
from tests.test_device import GRAPHS, PATHS

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first test uses cuBLAS, whatever its run asks for
pytestmark = pytest.mark.gpu

DETERMINISTIC = ("runtime.deterministic=true",)
COMPILED = ("accelerate.mode=compiled",)
DQN, IMAGES, TD3 = ("agent=dqn", *CARTPOLE, *SINGLE), ("agent=dqn", *MINATAR, *SINGLE), ("agent=td3", *PENDULUM)


def weights(path) -> dict[str, torch.Tensor]:
    _, parts = Checkpoints(path).load("last")
    return {name: tensor for name, tensor in parts["agent"]["module"].items() if tensor.is_floating_point()}


def assert_near(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], most: float = 1e-2) -> None:
    """Each tensor as a whole, because an entry whose gradient is nothing but rounding makes a full step of Adam in either direction."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        apart, size = (tensor - other[name]).double().norm().item(), other[name].double().norm().item()
        assert apart <= most * size + 1e-3, f"{name}: {apart:.3g} of {size:.3g}"


@pytest.mark.parametrize("name", PATHS)
def test_a_run_ends_near_that_of_the_cpu(name, tmp_path):
    words, _ = PATHS[name]
    run(tmp_path / "cpu", "cpu", *words)
    run(tmp_path / "cuda", "cuda", *words)
    # bfloat16 rounds to three digits, and two devices round different sums
    assert_near(weights(tmp_path / "cpu"), weights(tmp_path / "cuda"), 0.1 if name == "bfloat16" else 1e-2)


@pytest.mark.parametrize("mode", ["reference", "compiled"])
@pytest.mark.parametrize("name", ["dqn", "td3", "iiqn prioritized", "bfloat16"])
def test_a_deterministic_run_repeats_itself(name, mode, tmp_path, capfd):
    words, _ = PATHS[name]
    for folder in ("first", "again"):
        run(tmp_path / folder, "cuda", *words, *DETERMINISTIC, f"accelerate.mode={mode}")
    assert "could not be" not in capfd.readouterr().err  # or reference would be compared with itself
    assert_same_run(tmp_path / "first", tmp_path / "again")


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("mode", ["reference", "compiled"])
@pytest.mark.parametrize("words", [IMAGES, TD3], ids=["dqn", "td3"])
def test_a_stopped_and_resumed_run_is_the_whole_run(words, mode, lag, tmp_path, monkeypatch):
    words = (*SHORT, *words, *DETERMINISTIC, f"accelerate.mode={mode}", f"runtime.lag={lag}", "device=cuda")
    assert begin(tmp_path / "whole", *words) == exits.FINISHED
    with monkeypatch.context() as patch:
        at_step(patch, 54, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(tmp_path / "stopped", *words) == exits.STOPPED
    assert console("resume", tmp_path / "stopped") == exits.FINISHED
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("name", GRAPHS)
def test_cuda_graphs_end_near_their_operators(name, tmp_path, capfd):
    for mode in ("reference", "compiled"):
        run(tmp_path / mode, "cuda", *GRAPHS[name], f"accelerate.mode={mode}")
    assert "could not be" not in capfd.readouterr().err
    assert_near(weights(tmp_path / "reference"), weights(tmp_path / "compiled"))


@pytest.mark.parametrize("more", [(), COMPILED], ids=["reference", "compiled"])
@pytest.mark.parametrize("words", [DQN, (*IMAGES, "replay.n_step=3"), TD3], ids=["dqn", "images", "td3"])
def test_where_the_rows_lie_changes_no_bit(words, more, tmp_path):
    for place in ("cpu", "cuda"):
        run(tmp_path / place, "cuda", *words, *more, *DETERMINISTIC, f"replay.device={place}")
    assert same(weights(tmp_path / "cpu"), weights(tmp_path / "cuda"))


def test_tf32_is_off_by_default_and_a_word_allows_it(tmp_path):
    used = {}
    for product in ("auto", "high"):
        run(tmp_path / product, "cuda", *IMAGES, f"accelerate.matmul_precision={product}")
        used[product] = torch.backends.cudnn.allow_tf32
    assert used == {"auto": False, "high": True}
    assert torch.get_float32_matmul_precision() == "highest"  # of this process, after the run
    assert_near(weights(tmp_path / "auto"), weights(tmp_path / "high"), 0.1)


def test_bfloat16_is_near_float32_and_its_weights_are_float32(tmp_path):
    for product in ("highest", "bfloat16"):
        run(tmp_path / product, "cuda", *IMAGES, *COMPILED, f"accelerate.matmul_precision={product}")
    found = weights(tmp_path / "bfloat16")
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert not same(found, weights(tmp_path / "highest"))
    assert_near(found, weights(tmp_path / "highest"), 0.1)


@pytest.mark.parametrize("more", [(), COMPILED], ids=["reference", "compiled"])
def test_an_update_that_is_not_finite_leaves_a_bundle_that_repeats_it(more, tmp_path, monkeypatch, capsys):
    words = (*SHORT, *DQN, *more, "device=cuda")
    with monkeypatch.context() as patch:
        poison(patch, 9)
        assert begin(tmp_path / "run", *words) == exits.FAILED
    assert "of the loss 'value' is not finite: batch.reward: 1 of 8" in capsys.readouterr().err
    assert console("replay-crash", tmp_path / "run") == 0
    assert capsys.readouterr().out.count("batch.reward: 1 of 8 entries") == 2


def test_the_check_of_a_run_measures_it(capsys):
    assert console("check", *SHORT, *DQN, *COMPILED, "device=cuda") in (0, 1)  # 1: something looks suspicious, as the few steps do
    assert torch.cuda.get_device_name() in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_second_gpu(tmp_path):
    """Streams, events and graphs are those of the run's device, and not of the current one."""
    for device in ("cuda:0", "cuda:1"):
        run(tmp_path / device, device, *IMAGES, *COMPILED, *DETERMINISTIC, "replay.device=cpu", "replay.ratio=2")
    assert same(weights(tmp_path / "cuda:0"), weights(tmp_path / "cuda:1"))
