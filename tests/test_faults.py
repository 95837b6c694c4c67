"""What goes wrong around a run: environments, disks, signals, clocks, killed processes. Nothing here waits for a clock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CARTPOLE, console, front_door, lines, value_agent
from test_resume import assert_same_run, at_step

from deeprl.checkpoint import Checkpoints
from deeprl.cli import train as door
from deeprl.collector import Collector
from deeprl.run_folder import RunFolder
from deeprl.types import Spec
from deeprl.watchdog import LOOKS, Watchdog
from envs.toy import Counting
from envs.vector import Environments
from envs.workers import Workers

# ---- environments


@pytest.mark.filterwarnings("ignore:environment")
@pytest.mark.parametrize("failure", ["raise", "nan"])
def test_restarts_are_counted_logged_and_truncated(failure):
    """The transition leads nowhere and bootstraps: ended, not terminated, from and to the last good observation."""
    envs = Counting(failure=failure, on_error="restart", max_length=50).make(0, num=2)
    rows = []
    collector = Collector(value_agent(Spec((3,), torch.float32, 3, 0)), envs, rows.append, seed=0)
    for tick in range(40):
        collector.tick(2 * tick)
    bad = [(row, i) for row in rows for i in range(2) if row.action[i] == 2]
    assert len(bad) > 3
    for row, i in bad:
        assert (row.ended[i], row.terminated[i], row.reward[i]) == (True, False, 0.0)
        assert np.array_equal(row.obs[i], row.next_obs[i])
    assert collector.metrics()["rollout/env_restarts"] == envs.num_restarts == len(bad)
    assert "rollout/env_restarts" not in Collector(value_agent(), Counting().make(0), rows.append, seed=0).metrics()


# ---- signals


def send(number):
    return lambda: os.kill(os.getpid(), number)


def in_evaluation(patch, which: int, act) -> None:
    """Call `act()` once, in the third tick of that evaluation, 1-based."""
    reset, step, count = Environments.reset, Environments.step, [0, 0]

    def begin(self):
        if self.evaluation:
            count[:] = count[0] + 1, 0
        return reset(self)

    def go(self, action):
        count[1] += self.evaluation
        if self.evaluation and count == [which, 3]:
            act()
        return step(self, action)

    patch.setattr(Environments, "reset", begin)
    patch.setattr(Environments, "step", go)


@pytest.mark.parametrize(("which", "stopped_at"), [(1, 100), (2, 200), (3, 300)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_in_an_evaluation_stops_it_and_it_is_repeated(finished, tmp_path, monkeypatch, which, stopped_at, number):
    """In the first one, in a later one, in the last one; then once more in the repetition."""
    if number != signal.SIGTERM and which != 2:
        pytest.skip("the same code")
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        in_evaluation(patch, which, send(number))
        assert front_door(*CARTPOLE, f"hydra.run.dir={path}") == door.STOPPED
    status = RunFolder(path).read_status()
    assert (status["state"], status["step"]) == ("stopped", stopped_at)
    assert [line["step"] for line in lines(path, "evaluations.jsonl")] == list(range(100, stopped_at, 100))
    with monkeypatch.context() as patch:
        in_evaluation(patch, 1, send(number))
        assert console("resume", path) == door.STOPPED
    assert console("resume", path) == door.FINISHED
    assert_same_run(path, finished)


def test_a_signal_while_a_run_is_restored_waits_for_the_first_step(finished, tmp_path, monkeypatch):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 120, send(signal.SIGTERM))
        assert front_door(*CARTPOLE, f"hydra.run.dir={path}") == door.STOPPED
    step = RunFolder(path).read_status()["step"]
    plain = Checkpoints.load
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "load", lambda *args: send(signal.SIGTERM)() or plain(*args))
        assert console("resume", path) == door.STOPPED
    assert RunFolder(path).read_status()["step"] == step
    assert console("resume", path) == door.FINISHED
    assert_same_run(path, finished)


def test_a_second_interrupt_in_an_evaluation_leaves_at_once(finished, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        in_evaluation(patch, 2, twice)
        assert front_door(*CARTPOLE, f"hydra.run.dir={path}") == door.FAILED
    assert f"interrupted. What was saved before can be resumed: deeprl resume {path}" in capsys.readouterr().err
    assert console("resume", path) == door.FINISHED
    assert_same_run(path, finished)


def test_worker_processes_outlive_a_signal_to_all_until_the_run_is_saved(tmp_path, monkeypatch):
    """As Ctrl-C and schedulers send it: to the whole process group."""
    words = (*CARTPOLE, "env.vector=async", "evaluation.every=null")
    whole, path = tmp_path / "whole", tmp_path / "run"
    assert front_door(*words, f"hydra.run.dir={whole}") == door.FINISHED
    workers = []

    def to_all(self, number):
        workers.extend(self.processes)
        for process in (*self.processes, multiprocessing.current_process()):
            os.kill(process.pid, number)

    plain, count = Workers.step, [0]

    def step(self, *args):
        count[0] += 1
        if count[0] == 80:
            to_all(self, signal.SIGINT)
        return plain(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "step", step)
        assert front_door(*words, f"hydra.run.dir={path}") == door.STOPPED
    assert all(process.exitcode is not None or not process.is_alive() for process in workers)
    assert len(workers) == 2
    assert console("resume", path) == door.FINISHED
    assert_same_run(path, whole)


def test_early_stopping_is_over_once_it_is_decided(tmp_path, monkeypatch):
    """A signal in the last evaluation of a run that stop.return has ended: resuming evaluates and trains no further."""
    words = (*CARTPOLE, "stop.return=1")
    whole, path = tmp_path / "whole", tmp_path / "run"
    assert front_door(*words, f"hydra.run.dir={whole}") == door.FINISHED
    with monkeypatch.context() as patch:
        in_evaluation(patch, 2, send(signal.SIGTERM))
        assert front_door(*words, f"hydra.run.dir={path}") == door.STOPPED
    assert RunFolder(path).read_status()["step"] == 100
    assert len(lines(path, "evaluations.jsonl")) == 1
    assert console("resume", path) == door.FINISHED
    assert len(lines(path, "evaluations.jsonl")) == 2
    assert_same_run(path, whole)


# ---- a hang in this process


@pytest.fixture
def watchdog(tmp_path):
    left = []
    dog = Watchdog(RunFolder(tmp_path), 1000.0, lambda: (1234, 56), left.append)
    with dog:
        yield dog, left


def test_a_hang_writes_status_and_stacks_and_leaves_with_1(watchdog, tmp_path, capfd):
    dog, left = watchdog
    dog.beat()
    for _ in range(LOOKS):
        dog.look()
    assert not left  # the beat came before the first look
    dog.look()
    assert left == [1]
    status = RunFolder(tmp_path).read_status()
    assert (status["state"], status["step"], status["updates"]) == ("failed", 1234, 56)
    assert "no progress for 1000 minutes" in status["error"]
    assert f"deeprl resume {tmp_path}" in capfd.readouterr().err
    assert "test_faults.py" in (tmp_path / "stacks.txt").read_text()


def test_beats_keep_it_quiet_and_so_does_a_debugger(watchdog):
    dog, left = watchdog
    for _ in range(3 * LOOKS):
        dog.beat()
        dog.look()
    names = {}
    exec(compile("def in_debugger(f):\n    for _ in range(100): f()", "/lib/python/bdb.py", "exec"), names)
    names["in_debugger"](dog.look)
    assert not left


def test_an_idle_watchdog_leaves_nothing_behind(tmp_path):
    with Watchdog(RunFolder(tmp_path), 30, lambda: (0, 0)):
        assert (tmp_path / "stacks.txt").exists()
    with Watchdog(RunFolder(tmp_path), None, lambda: (0, 0)):
        pass
    assert not list(tmp_path.iterdir())


HANG = """
import ctypes, sys, threading
from pathlib import Path
from deeprl.run_folder import RunFolder
from deeprl.watchdog import Watchdog
with Watchdog(RunFolder(Path(sys.argv[1])), 1 / 600, lambda: (7, 3)) as dog:
    if sys.argv[2] == "lock":
        ctypes.PyDLL(None).pause()
    threading.Event().wait()
"""


@pytest.mark.parametrize("kind", ["event", "lock"])
def test_a_hanging_process_is_ended(kind, tmp_path):
    """One that waits; and one in a C call that holds Python's lock, where the status must stay as it was."""
    done = subprocess.run([sys.executable, "-c", HANG, tmp_path, kind], timeout=120, capture_output=True, text=True)
    assert done.returncode == 1
    assert "<string>" in (tmp_path / "stacks.txt").read_text()
    assert (tmp_path / "status.json").exists() == (kind == "event")
