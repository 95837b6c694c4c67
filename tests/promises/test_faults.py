"""What goes wrong around a run: environments, disks, signals, clocks, killed processes. Nothing here waits for a clock."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deeprl.cli import exits
from deeprl.envs.vector.environments import Environments
from deeprl.envs.vector.workers import Workers
from deeprl.errors import ConfigError
from deeprl.running.config.compose import compose
from deeprl.running.runs import checkpoint
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.runs.loggers import JsonLines, Loggers, TensorBoard
from deeprl.running.session import session
from deeprl.running.session.complete import complete
from deeprl.running.training.collector import Collector
from deeprl.running.training.evaluator import way_past
from deeprl.system import files
from deeprl.system.watchdog import CHECKS, Watchdog
from deeprl.types import AgentStep, Spec
from tests.builders import CARTPOLE, begin, collecting, console, front_door, lines, same, value_agent
from tests.promises.test_resume import assert_same_run, at_step
from tests.ranks import ended, forked
from tests.toy_envs import Counting

# ---- environments


@pytest.mark.filterwarnings("ignore:environment")
@pytest.mark.parametrize("failure", ["raise", "nan"])
def test_restarts_are_counted_logged_and_truncated(failure):
    """The transition leads nowhere and bootstraps: ended, not terminated, from and to the last good observation."""
    envs = Counting(failure=failure, on_error="restart", max_length=50).make(0, num=2)
    rows, told = [], []
    agent = value_agent(Spec((3,), torch.float32, 3, 0))
    collector = Collector(agent, collecting(agent), envs, rows.append, seed=0, cut=lambda ended, failed: told.append(failed) or [])
    for tick in range(40):
        collector.tick(2 * tick)
    bad = [(row, i) for row in rows for i in range(2) if row.action[i] == 2]
    assert len(bad) > 3
    assert [i for failed in told for i in failed] == [i for _, i in bad]  # whole episodes count it otherwise
    for row, i in bad:
        assert (row.ended[i], row.terminated[i], row.reward[i]) == (True, False, 0.0)
        assert np.array_equal(row.obs[i], row.next_obs[i])
    assert collector.metrics()["rollout/env_restarts"] == envs.num_restarts == len(bad)
    assert "rollout/env_restarts" not in Collector(value_agent(), None, Counting().make(0), rows.append, seed=0).metrics()


@pytest.mark.parametrize("num", [1, 2])
def test_an_agent_is_told_where_episodes_start(num, monkeypatch):
    """Also after a collector has gone back to where an episode ends."""
    agent, rows, told = value_agent(Spec((3,), torch.float32, 3, 0)), [], []
    act = agent.act

    def listening(obs, first, *rest, **more):
        told.append(first.tolist())
        return act(obs, first, *rest, **more)

    monkeypatch.setattr(agent, "act", listening)
    make = Counting(max_length=5).make
    collector = Collector(agent, collecting(agent), make(0, num=num), rows.append, seed=0)
    for tick in range(20):
        collector.tick(num * tick)
    ended = [row.ended.tolist() for row in rows]
    assert any(map(any, ended))
    assert told == [[True] * num, *ended[:-1]]
    again = Collector(agent, collecting(agent), make(0, num=num), rows.append, seed=0)
    again.load_state_dict(collector.state_dict())
    again.tick(num * 20)
    assert told[-1] == ended[-1]


@pytest.mark.filterwarnings("ignore:environment")
def test_a_choice_that_cannot_be_taken_is_made_again_from_the_memory_before_it():
    """With runtime.lag=1 the memories of all environments advanced twice where the episode of one could not be repeated."""
    counted = lambda obs, first, memory, step, noise: AgentStep(  # noqa: E731
        torch.zeros(2, dtype=torch.int64), torch.ones(2), {"ticks": memory.get("ticks", torch.zeros(2)) + 1}
    )

    def collector():
        envs = Counting(max_length=50).make(0, num=2)
        return Collector(value_agent(Spec((3,), torch.float32, 3, 0)), counted, envs, lambda rows: None, seed=0)

    before = collector()
    for tick in range(3):
        before.tick(2 * tick)
    before.choose(6)
    state = before.state_dict()
    assert state["memory"]["ticks"].tolist() == [4, 4]
    state["envs"]["environments"]["1"]["hash"] = "0" * 16
    after = collector()
    assert after.load_state_dict(state) == [1]
    after.tick(6)
    assert after.memory["ticks"].tolist() == [4, 4]


# ---- what is beside training does not reach it


def test_evaluations_and_log_lines_leave_the_weights_alone(finished, tmp_path):
    path = tmp_path / "quiet"
    words = [word for word in CARTPOLE if not word.startswith(("evaluation.every", "log.every", "checkpoint.every"))]
    assert begin(path, *words, "evaluation.every=null", "log.every=300", "checkpoint.every=null") == exits.FINISHED
    (_, left), (_, right) = (Checkpoints(folder).load(only={"agent"}) for folder in (path, finished))
    assert same(left["agent"]["module"], right["agent"]["module"])


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


@pytest.mark.parametrize(
    ("number", "which", "stopped_at"),
    [(signal.SIGTERM, 1, 100), (signal.SIGUSR1, 2, 200), (signal.SIGINT, 3, 300)],
)
def test_a_signal_in_an_evaluation_stops_it_and_it_is_repeated(finished, tmp_path, monkeypatch, which, stopped_at, number):
    """In the first one, in a later one, in the last one; then once more in the repetition."""
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        in_evaluation(patch, which, send(number))
        assert begin(path, *CARTPOLE) == exits.STOPPED
    status = RunFolder(path).read_status()
    assert (status["state"], status["step"]) == ("stopped", stopped_at)
    assert [line["step"] for line in lines(path, "evaluations.jsonl")] == list(range(100, stopped_at, 100))
    with monkeypatch.context() as patch:
        in_evaluation(patch, 1, send(number))
        assert console("resume", path) == exits.STOPPED
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, finished)


def test_a_signal_while_a_run_is_restored_waits_for_the_first_step(finished, tmp_path, monkeypatch):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 120, send(signal.SIGTERM))
        assert begin(path, *CARTPOLE) == exits.STOPPED
    step = RunFolder(path).read_status()["step"]
    plain = Checkpoints.load
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "load", lambda *args, **more: send(signal.SIGTERM)() or plain(*args, **more))
        assert console("resume", path) == exits.STOPPED
    assert RunFolder(path).read_status()["step"] == step
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, finished)


def test_a_second_interrupt_in_an_evaluation_leaves_at_once(finished, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        in_evaluation(patch, 2, twice)
        assert begin(path, *CARTPOLE) == exits.FAILED
    assert f"deeprl resume {path}" in capsys.readouterr().err
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, finished)


@pytest.mark.filterwarnings("ignore:environment 0 of CartPole-v1 failed")
def test_a_worker_that_dies_in_an_evaluation_changes_no_result(finished, tmp_path, monkeypatch):
    """Of a run whose environments are worker processes; `finished` is the same in one process."""
    plain, killed = Environments.step, []

    def step(self, action):
        if self.evaluation and self._journals[0].steps == 3:
            killed.append(self.backend.processes[0])
            killed[-1].kill()
        return plain(self, action)

    monkeypatch.setattr(Environments, "step", step)
    assert begin(tmp_path / "run", *CARTPOLE, "env.vector=async") == exits.FINISHED
    assert killed
    assert lines(tmp_path / "run", "evaluations.jsonl") == lines(finished, "evaluations.jsonl")
    (_, left), (_, right) = (Checkpoints(folder).load(only={"agent"}) for folder in (tmp_path / "run", finished))
    assert same(left["agent"]["module"], right["agent"]["module"])


def test_worker_processes_outlive_a_signal_to_all_until_the_run_is_saved(tmp_path, monkeypatch):
    """As Ctrl-C and schedulers send it: to the whole process group."""
    words = (*CARTPOLE, "env.vector=async", "evaluation.every=null")
    whole, path = tmp_path / "whole", tmp_path / "run"
    assert begin(whole, *words) == exits.FINISHED
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
        assert begin(path, *words) == exits.STOPPED
    assert all(process.exitcode is not None or not process.is_alive() for process in workers)
    assert len(workers) == 2
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, whole)


def test_early_stopping_is_over_once_it_is_decided(tmp_path, monkeypatch):
    """A signal in the last evaluation of a run that stop.return has ended: resuming evaluates and trains no further."""
    words = (*CARTPOLE, "stop.return=1")
    whole, path = tmp_path / "whole", tmp_path / "run"
    assert begin(whole, *words) == exits.FINISHED
    with monkeypatch.context() as patch:
        in_evaluation(patch, 2, send(signal.SIGTERM))
        assert begin(path, *words) == exits.STOPPED
    assert RunFolder(path).read_status()["step"] == 100
    assert len(lines(path, "evaluations.jsonl")) == 1
    assert console("resume", path) == exits.FINISHED
    assert len(lines(path, "evaluations.jsonl")) == 2
    assert_same_run(path, whole)


@pytest.mark.parametrize("code", [0, 75])
def test_a_thread_that_stays_does_not_keep_the_process(code):
    """An environment started it, and it is no daemon."""
    thread = "threading.Thread(target=threading.Event().wait, name='mine').start()"
    program = f"import threading; from deeprl.cli.leave import leave; {thread}; leave({code})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert done.stderr == "ended without waiting for threads that still run: mine\n"


# ---- disks, files and clocks


def full_disk(patch, when, number: int = errno.ENOSPC) -> list[str]:
    """Every write to a file of a run fails with this error while `when()`. Returns what was refused."""
    refused: list[str] = []
    error = OSError(number, os.strerror(number))

    def wrap(name, module, call):
        def write(*args, **kwargs):
            if when():
                refused.append(name)
                raise error
            return call(*args, **kwargs)

        patch.setattr(module, name, write)

    wrap("create", files, files.create)
    wrap("create", checkpoint, checkpoint.create)
    wrap("write_tensors", checkpoint, checkpoint.write_tensors)
    plain = files.Appender.flush

    def flush(self, durable=False):
        if when() and self._waiting:
            refused.append(self.path.name)
            raise error
        plain(self, durable)

    patch.setattr(files.Appender, "flush", flush)
    return refused


@pytest.mark.parametrize("segment", [8 << 20, 1000])
def test_a_full_disk_costs_a_checkpoint_and_nothing_else(finished, tmp_path, monkeypatch, capsys, segment):
    """It is full from step 90 to step 230: neither the evaluations of 100 and 200 nor the checkpoints since can be written, nor replay rows
    ahead of them."""
    path, step = tmp_path / "run", [0]
    with monkeypatch.context() as patch:
        patch.setattr("deeprl.running.training.saving.SEGMENT_BYTES", segment)
        tick = Collector.tick
        patch.setattr(Collector, "tick", lambda self, now: (step.__setitem__(0, now), tick(self, now))[1])
        refused = full_disk(patch, lambda: 90 <= step[0] < 230)
        assert begin(path, *CARTPOLE) == exits.FINISHED
    assert "evaluations.jsonl" in refused
    said = capsys.readouterr().err
    assert re.search("No space left on device: .*step 160 .*step 80 ", said)
    assert_same_run(path, finished)
    left, right = (sorted(p.name for p in (folder / "replay").iterdir()) for folder in (path, finished))
    if segment != 1000:  # with segments of that size the whole run has joined others
        assert len(left) <= len(right)  # no segment of an attempt that failed


def test_the_best_checkpoint_is_the_best_that_could_be_saved(tmp_path, monkeypatch):
    """The disk is full at the first evaluation, and later ones are not better: none has more than the reward of the chain."""
    path, step = tmp_path / "run", [0]
    words = (
        "agent=dqn",
        "env=toy/chain",
        "steps=200",
        "evaluation.every=50",
        "evaluation.episodes=2",
        "evaluation.num=1",
        "replay.learning_starts=20",
    )
    with monkeypatch.context() as patch:
        tick = Collector.tick
        patch.setattr(Collector, "tick", lambda self, now: (step.__setitem__(0, now), tick(self, now))[1])
        full_disk(patch, lambda: 45 <= step[0] < 60)
        assert begin(path, *words, "replay.capacity=100", "checkpoint.every=null", "runtime.threads=1") == exits.FINISHED
    summary = json.loads((path / "summary.json").read_text())
    assert summary["best"]["step"] > 50
    assert Checkpoints(path).pointed("best") == summary["best"]["step"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_disk_or_quota_that_stays_full_ends_the_run_and_it_can_be_resumed(finished, tmp_path, monkeypatch, capsys, number):
    path, step = tmp_path / "run", [0]
    with monkeypatch.context() as patch:
        tick = Collector.tick
        patch.setattr(Collector, "tick", lambda self, now: (step.__setitem__(0, now), tick(self, now))[1])
        full_disk(patch, lambda: step[0] >= 170, number)
        with pytest.warns(UserWarning, match=f"lost: {os.strerror(number)}"):
            assert begin(path, *CARTPOLE) == exits.FAILED
    said = capsys.readouterr().err
    assert re.search("step 300 .*step 160 .*deeprl resume", said)
    assert "Traceback" not in said
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, finished)


def test_a_disk_that_becomes_read_only_ends_the_run_and_it_can_be_resumed(finished, tmp_path, monkeypatch, capsys):
    path, step = tmp_path / "run", [0]
    with monkeypatch.context() as patch:
        tick = Collector.tick
        patch.setattr(Collector, "tick", lambda self, now: (step.__setitem__(0, now), tick(self, now))[1])
        full_disk(patch, lambda: step[0] >= 170, errno.EROFS)
        assert begin(path, *CARTPOLE) == exits.FAILED
    said = capsys.readouterr().err
    assert "Read-only file system" in said
    assert "Traceback" not in said
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, finished)


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of one megabyte, where mounting one is permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    try:
        checkpoints = Checkpoints(disk)
        rows = {"rows": torch.zeros(20_000), "start": torch.tensor([0]), "stop": torch.tensor([20_000])}
        checkpoints.save(1, {"agent": torch.ones(1000)}, rows, live_from=[0])
        more = {"rows": torch.zeros(300_000), "start": torch.tensor([20_000]), "stop": torch.tensor([320_000])}
        few = {"rows": torch.zeros(100), "start": torch.tensor([20_000]), "stop": torch.tensor([20_100])}
        for parts, segment in (({"agent": torch.ones(500_000)}, few), ({"agent": torch.ones(500_000)}, None), ({"agent": None}, more)):
            with pytest.raises(OSError, match="No space left on device") as caught:
                checkpoints.save(2, parts, segment, live_from=[0])
            assert files.full(caught.value)
            assert checkpoints.load()[0] == 1
            assert [len(s["rows"]) for s in checkpoints.segments(1)] == [20_000]
            assert len(list(disk.rglob("*segment*"))) == 1
        lines = files.Appender(disk / "lines")
        lines.write(b"".join(b"%07d\n" % i for i in range(200_000)))
        with pytest.raises(OSError):
            lines.flush()
        (disk / "replay" / "segment_00000001.safetensors").unlink()
        for _ in range(2):
            with contextlib.suppress(OSError):
                lines.flush()
        written = (disk / "lines").read_bytes()
        assert written == b"".join(b"%07d\n" % i for i in range(200_000))[: len(written)]
        assert len(written) > 900_000
    finally:
        subprocess.run(["umount", disk], check=True)


def log(loggers, now) -> None:
    """Three lines, 6 seconds apart."""
    for step in (1, 2, 3):
        now[0] += 6
        loggers.scalars(step, {"x": step})


def test_log_lines_wait_for_space(tmp_path, monkeypatch):
    now = [0.0]
    loggers = Loggers([JsonLines(tmp_path), TensorBoard(tmp_path)], clock=lambda: now[0])
    is_full = [True]
    with monkeypatch.context() as patch:
        write, left = os.write, [30]

        def some(handle, data):
            """The file system takes a few bytes more, and none after."""
            if not is_full[0]:
                return write(handle, data)
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = write(handle, bytes(data[: left[0]]))
            left[0] -= taken
            return taken

        patch.setattr(os, "write", some)
        with pytest.warns(UserWarning, match="No space left on device: .*memory"):
            log(loggers, now)
        with pytest.raises(OSError):
            loggers.flush()
        assert (tmp_path / "metrics.jsonl").stat().st_size == 30
        is_full[0] = False
        loggers.close()
    assert [line["step"] for _, line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("x")] == [1, 2, 3]


def test_another_error_than_a_full_disk_is_not_waited_for(tmp_path, monkeypatch):
    now = [0.0]
    loggers = Loggers([JsonLines(tmp_path)], clock=lambda: now[0])
    monkeypatch.setattr(files.Appender, "flush", lambda self, durable=False: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    now[0] = 6.0
    with pytest.raises(OSError, match="broken"):
        loggers.scalars(1, {"x": 1})
    with pytest.raises(OSError, match="broken"):
        RunFolder(tmp_path).append_evaluation({"step": 1})


@pytest.mark.parametrize("what", ["events.out.tfevents.*", "metrics.jsonl"])
def test_a_log_file_that_is_removed_in_mid_run_comes_back(finished, tmp_path, monkeypatch, what):
    path = tmp_path / "run"

    def remove():
        (found,) = path.glob(what)
        found.unlink()

    at_step(monkeypatch, 170, remove)
    with pytest.warns(UserWarning, match="was removed"):
        assert begin(path, *CARTPOLE) == exits.FINISHED
    assert lines(path, "metrics.jsonl")[-1] == lines(finished, "metrics.jsonl")[-1]
    events = EventAccumulator(str(path))
    events.Reload()
    assert events.Scalars("eval/mean_reward")[-1].step == 300
    assert lines(path, "evaluations.jsonl") == lines(finished, "evaluations.jsonl")


def test_a_clock_that_goes_backwards_changes_nothing(finished, tmp_path, monkeypatch):
    path, now = tmp_path / "run", [time.time()]

    def earlier():
        now[0] -= 3600.0
        return now[0]

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", earlier)
        at_step(patch, 170, send(signal.SIGTERM))
        assert begin(path, *CARTPOLE) == exits.STOPPED
        assert console("resume", path) == exits.FINISHED
    assert_same_run(path, finished)
    events = EventAccumulator(str(path))
    events.Reload()
    steps = [event.step for event in events.Scalars("train/n_updates")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 300


def test_tensorboard_keeps_the_last_step_of_a_run_that_goes_on(finished, tmp_path):
    """What is repeated is purged; step 300 is not."""
    path = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    assert console("resume", path, "steps=320") == exits.FINISHED
    events = EventAccumulator(str(path))
    events.Reload()
    assert events.Scalars("train/n_updates")[-1].step == 300


@pytest.mark.parametrize("name", ["{path}", "{path}/.", "{path}/../run"])
def test_a_run_is_never_trained_over(finished, tmp_path, name, capsys):
    """However the folder is spelt, because the question is asked under the lock."""
    path = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "lock"}
    config, user, _ = compose(list(CARTPOLE))
    with pytest.raises(ConfigError, match="already holds a run"):
        session.train(complete(config, user), Path(name.format(path=path)))
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "lock"} == before


def test_a_configuration_edited_in_mid_run_is_refused(finished, tmp_path, capsys):
    path = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    file = path / "config.yaml"
    file.write_text(re.sub("^discount: .*$", "discount: 0.5", file.read_text(), flags=re.MULTILINE).replace("watchdog: 30", "watchdog: 31"))
    assert console("resume", path, "steps=320") == exits.FAILED
    assert "config.yaml was edited since, in discount;" in capsys.readouterr().err
    shutil.copy(finished / "config.yaml", file)
    assert console("resume", path, "steps=320") == exits.FINISHED


def test_weights_that_are_not_numbers_are_not_evaluated(finished, tmp_path, capsys):
    path = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    checkpoints = Checkpoints(path)
    step, parts = checkpoints.load()
    for tensor in parts["agent"]["module"].values():
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)
    checkpoints.save(step, parts)
    assert console("eval", path, "--episodes", "1") == exits.FAILED
    assert "holds weights " in capsys.readouterr().err


def test_a_run_that_could_not_be_built_says_so(tmp_path, monkeypatch):
    def few(*args, **kwargs):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("deeprl.running.session.session.assemble", few)
    assert begin(tmp_path / "run", *CARTPOLE) == exits.FAILED
    status = RunFolder(tmp_path / "run").read_status()
    assert (status["state"], status["step"]) == ("failed", 0)
    assert "Too many open files" in status["error"]


def test_a_second_command_leaves_the_folder_of_a_run_that_starts_alone(tmp_path, capsys):
    with RunFolder(tmp_path / "run").lock():
        assert front_door(*CARTPOLE, f"hydra.run.dir={tmp_path / 'run'}") == exits.FAILED
        assert f"in use by pid {os.getpid()}" in capsys.readouterr().err
        assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["lock"]


def test_a_full_disk_where_a_run_folder_is_made_is_no_wrong_command(tmp_path, monkeypatch, capsys):
    def full(*given, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("deeprl.cli.train.run_once", full)
    assert front_door(*CARTPOLE, f"hydra.run.dir={tmp_path / 'run'}") == exits.FAILED
    assert "the run folder cannot be made: [Errno 28] No space left" in capsys.readouterr().err


def test_two_commands_on_one_folder(finished, capsys):
    with RunFolder(finished).lock():
        assert console("resume", finished, "steps=400") == exits.FAILED
    assert f"in use by pid {os.getpid()}" in capsys.readouterr().err
    assert lines(finished, "metrics.jsonl")[-1]["step"] == 300


# ---- a hang in this process


@pytest.fixture
def watchdog(tmp_path):
    left = []
    dog = Watchdog(tmp_path, 1000.0, lambda text: RunFolder(tmp_path).write_status("failed", 1234, 56, error=text), left.append)
    with dog:
        yield dog, left


def test_a_hang_writes_status_and_stacks_and_leaves_with_1(watchdog, tmp_path, capfd):
    dog, left = watchdog
    dog.beat()
    for _ in range(CHECKS):
        dog.check()
    assert not left  # the beat came before the first check
    dog.check()
    assert left == [1]
    status = RunFolder(tmp_path).read_status()
    assert (status["state"], status["step"], status["updates"]) == ("failed", 1234, 56)
    assert "no progress for 1000 minutes" in status["error"]
    assert f"deeprl resume {tmp_path}" in capfd.readouterr().err
    assert "test_faults.py" in (tmp_path / "stacks.txt").read_text()


def test_a_hang_in_an_evaluation_names_it_and_the_way_past_it(watchdog, tmp_path, capfd):
    dog, left = watchdog
    with dog.during("the evaluation of step 1,000", "evaluation.every=STEPS"):
        for _ in range(CHECKS):
            dog.check()
    assert left == [1]
    error = RunFolder(tmp_path).read_status()["error"]
    assert "in the evaluation of step 1,000" in error
    assert f"deeprl resume {tmp_path} evaluation.every=STEPS" in error
    assert error in capfd.readouterr().err


@pytest.mark.parametrize(
    ("vector", "video", "last", "past"),
    [
        ("sync", False, False, "evaluation.every=STEPS"),
        ("sync", True, True, "steps=STEPS"),
        ("async", False, False, "env.timeout=SECONDS"),
        ("async", True, False, "evaluation.video=false"),
    ],
)
def test_the_way_past_an_evaluation(vector, video, last, past):
    assert way_past({"env": {"vector": vector}, "evaluation": {"video": video}}, last) == past


def test_the_stacks_of_a_hang_stay_when_the_run_goes_on(tmp_path):
    """In a run that hangs, goes on, and hangs again."""
    texts = []
    for hangs in (True, False, True):
        with Watchdog(tmp_path, 1000.0, lambda text: None, lambda code: None) as dog:
            for _ in range(CHECKS if hangs else 0):
                dog.check()
        texts.append((tmp_path / "stacks.txt").read_text())
    first, second, third = texts
    assert "test_the_stacks_of_a_hang_stay" in first
    assert second == first
    assert third.startswith(first)
    assert len(third) > len(first)


def test_beats_keep_it_quiet_and_so_does_a_debugger(watchdog):
    dog, left = watchdog
    for _ in range(3 * CHECKS):
        dog.beat()
        dog.check()
    names = {}
    exec(compile("def in_debugger(f):\n    for _ in range(100): f()", "/lib/python/bdb.py", "exec"), names)
    names["in_debugger"](dog.check)
    assert not left


def test_an_idle_watchdog_leaves_nothing_behind(tmp_path):
    with Watchdog(tmp_path, 30, lambda text: None):
        assert (tmp_path / "stacks.txt").exists()
    with Watchdog(tmp_path, None, lambda text: None):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["event", "lock"])
def test_a_hanging_process_is_ended(kind, tmp_path):
    """One that waits; and one in a C call that holds Python's lock, where the status must stay as it was."""
    folder = RunFolder(tmp_path)

    def hang() -> None:
        with Watchdog(tmp_path, 1 / 600, lambda text: folder.write_status("failed", 7, 3, error=text)):
            if kind == "lock":
                ctypes.PyDLL(None).pause()
            threading.Event().wait()

    assert ended([forked(hang)]) == [1]
    assert "in hang" in (tmp_path / "stacks.txt").read_text()
    assert (tmp_path / "status.json").exists() == (kind == "event")
