"""Whole sweeps by the command `deeprl sweep`. Where processes are not what is tested, jobs run in this one."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import pickle
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from deeprl.cli import exits
from deeprl.cli import sweep as command
from deeprl.errors import ConfigError
from deeprl.running.config.connections import require_allowed
from deeprl.running.runs.folder import RunFolder, holder
from deeprl.system.signals import HANDLED, leave_at_signals
from deeprl.tools.sweep import plan, slurm
from deeprl.tools.sweep.folder import Place, SweepFolder
from deeprl.tools.sweep.grid import Job, expand
from deeprl.tools.sweep.process import Task
from tests.builders import console, front_door, lines

ROOT = Path(__file__).resolve().parents[3]
TOY = (
    "agent=dqn", "env=toy/chain", "steps=40", "replay.learning_starts=20", "replay.capacity=100", "log.every=20",
    "evaluation.final_episodes=1",
    "evaluation.every=null", "checkpoint.every=null",
)  # fmt: skip
LONG = (*TOY, "steps=1000000", "replay.learning_starts=1000000", "log.every=50")


class Here:
    """A launcher whose jobs are over when they have started. It counts them."""

    slots, stays, near, pause = 1, False, True, 0.0

    def __init__(self, *ignored):
        self.started: list[str] = []
        self.signal: int | None = None

    def start(self, task: Task):
        self.started.append(task.run.name)
        if self.signal is not None:
            os.kill(os.getpid(), self.signal)
        with open(task.log, "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            self.code = front_door(*task.words())
        return self

    def poll(self):
        return self.code

    def stop(self):
        raise AssertionError("no job is ever running")

    def farewell(self):
        return ""


@pytest.fixture
def here(monkeypatch):
    launcher = Here()
    monkeypatch.setattr(command, "Local", lambda slots: launcher)
    return launcher


def state(run: Path) -> str:
    return RunFolder(run).read_status()["state"]


def test_a_failed_job_stops_no_other_and_resuming_runs_it_alone_again(tmp_path, here, capsys):
    folder = tmp_path / "sweep"
    assert console("sweep", *TOY, "agent.optimizer.lr=1e30,1e-3", "--dir", folder) == exits.FAILED
    bad, good = here.started
    assert (state(folder / bad), state(folder / good)) == ("failed", "finished")
    said = capsys.readouterr()
    assert f"{bad} failed; the end of {folder / bad}.log:\n  deeprl: the run failed: NotFinite" in said.out
    assert f"{folder}: 1 finished, 1 failed\n" in said.out
    assert f"deeprl sweep resume {folder}" in said.out
    assert f"{good}: finished at step 40, return " in said.err
    here.started.clear()
    assert console("sweep", "resume", folder) == exits.FAILED
    assert here.started == [bad]


def test_a_job_whose_process_leaves_with_0_before_its_end_has_failed(tmp_path, here, monkeypatch, capsys):
    """As an extension does that calls exit(0)."""
    train = front_door
    monkeypatch.setattr(sys.modules[__name__], "front_door", lambda *words: train(*words, "hydra.run.dir=elsewhere"))
    monkeypatch.chdir(tmp_path)
    assert console("sweep", *TOY, "seed=1", "--dir", "sweep") == exits.FAILED
    said = capsys.readouterr()
    assert "the process ended with 0 before the run was finished" in said.out
    assert "sweep: 1 failed" in said.out


def test_the_same_command_continues_and_a_finished_sweep_has_nothing_to_do(tmp_path, here, capsys):
    folder = tmp_path / "sweep"
    here.signal = signal.SIGUSR1  # in the first job, before it trains
    assert console("sweep", *TOY, "seed=1,2", "--dir", folder) == exits.STOPPED
    assert here.started == ["seed=1"]  # and it ended: its handlers were not those of the sweep
    assert "1 finished, 1 unfinished" in capsys.readouterr().out
    here.signal = None
    assert console("sweep", *TOY, "seed=1,2", "--dir", folder) == exits.FINISHED
    assert here.started == ["seed=1", "seed=2"]
    assert console("sweep", *TOY, "seed=1,2", "--dir", folder) == exits.FINISHED
    assert "all 2 jobs are finished; nothing to do" in capsys.readouterr().out
    assert here.started == ["seed=1", "seed=2"]
    assert console("sweep", *TOY, "seed=1,3", "--dir", folder) == exits.WRONG
    assert "another sweep, agent=dqn" in capsys.readouterr().err
    alone = tmp_path / "alone"
    assert front_door(*TOY, "seed=2", "runtime.threads=1", f"hydra.run.dir={alone}") == exits.FINISHED
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert lines(alone, name) == lines(folder / "seed=2", name)


@pytest.fixture
def untrained(monkeypatch):
    """A signal ends each job before it trains, and the sweep with it."""
    monkeypatch.setattr(Here, "start", lambda self, task: (os.kill(os.getpid(), signal.SIGTERM), self)[1])
    monkeypatch.setattr(Here, "code", -signal.SIGTERM, raising=False)


def test_a_job_that_a_signal_ended_before_it_could_save_is_unfinished(tmp_path, here, untrained, capsys):
    assert console("sweep", *TOY, "seed=1,2", "--dir", tmp_path / "sweep") == exits.STOPPED
    assert "2 unfinished" in capsys.readouterr().out


def test_relative_paths_mean_what_they_meant_for_the_first_command(tmp_path, monkeypatch, here, finished):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert front_door(*TOY, "hydra.run.dir=pre") == exits.FINISHED
    here.signal = signal.SIGUSR1
    assert console("sweep", *TOY, "init_from=pre", "seed=1,2", "--dir", "sweep") == exits.STOPPED
    tasks, plain = [], Here.start
    monkeypatch.setattr(Here, "start", lambda self, task: (tasks.append(task), monkeypatch.chdir(task.cwd), plain(self, task))[-1])
    here.signal = None
    monkeypatch.chdir(tmp_path / "b")
    assert console("sweep", "resume", tmp_path / "a" / "sweep") == exits.FINISHED
    assert [task.cwd for task in tasks] == [tmp_path / "a"]


@pytest.mark.parametrize(
    ("words", "config_dir", "says"),
    [
        (("env=function", "env.function=deeprl.system.terminal:os.system", "env.kwargs.command='touch pwned'"), None, "nothing of deeprl"),
        (("env=function", "env.function=tests.builders:os.system", "env.kwargs.command='touch pwned'"), None, "--allow-package tests"),
        (("env=gym", "env.id=CartPole-v1", "env.wrappers=[gymnasium.wrappers.rendering.os]"), None, "--allow-package gymnasium"),
        (("agent.backup._target_=tests.nowhere.Thing",), None, "--allow-package tests"),
        ((), "theirs", "--allow-file theirs"),
    ],
)
def test_jobs_of_a_strangers_sweep_call_nothing_unasked(tmp_path, here, monkeypatch, words, config_dir, says, capsys):
    """The same words of the user's own command are not asked about."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    given = [word for word in TOY if not (words and word.startswith("env="))]
    (tmp_path / "sweep").mkdir()
    SweepFolder(tmp_path / "sweep", given, expand([*given, *words]), config_dir).store()
    assert console("sweep", "resume", "sweep") == exits.WRONG
    assert says in capsys.readouterr().err
    assert here.started == []
    assert not Path("pwned").exists()


def test_a_sweep_of_the_users_own_function_is_resumed_by_the_printed_command(tmp_path, here, capsys):
    words = [word for word in TOY if not word.startswith("env=")]
    here.signal = signal.SIGUSR1
    own = ("env=function", "env.function=tests.promises.test_from_python:make")
    assert console("sweep", *words, *own, "seed=1,2", "--dir", tmp_path / "sweep") == exits.STOPPED
    (command,) = re.findall(r"deeprl (sweep resume .*)", capsys.readouterr().out)
    here.signal = None
    assert command.endswith("--allow-package tests")
    assert console(*command.split()) == exits.FINISHED


def test_a_job_with_a_checkpoint_needs_the_run_of_its_first_weights_no_more(tmp_path, here, capsys):
    assert front_door(*TOY, f"hydra.run.dir={tmp_path / 'pre'}") == exits.FINISHED
    words = ("sweep", *TOY, f"init_from={tmp_path / 'pre'}", "seed=1", "--dir", tmp_path / "sweep")
    assert console(*words) == exits.FINISHED
    (tmp_path / "pre").rename(tmp_path / "elsewhere")
    status = tmp_path / "sweep" / "run" / "status.json"
    status.write_text(status.read_text().replace("finished", "stopped"))
    assert console("sweep", "resume", tmp_path / "sweep") == exits.FINISHED
    (tmp_path / "sweep" / "run").rename(tmp_path / "gone")
    assert console("sweep", "resume", tmp_path / "sweep") == exits.WRONG
    assert "is no run folder" in capsys.readouterr().err


def test_a_job_whose_folder_is_damaged_keeps_no_other_from_its_turn(tmp_path, here, capsys):
    folder = tmp_path / "sweep"
    here.signal = signal.SIGUSR1
    assert console("sweep", *TOY, "seed=1,2", "--dir", folder) == exits.STOPPED
    here.signal = None
    (folder / "seed=1" / "status.json").write_text("")
    assert console("sweep", "resume", folder) == exits.FAILED
    assert state(folder / "seed=2") == "finished"
    assert "1 finished, 1 failed" in capsys.readouterr().out


def test_replays_that_do_not_fit_together_are_refused_or_run_in_turn(tmp_path, untrained, monkeypatch, capsys):
    """Each job's replay takes 5.74 kB when it is full, and 12,000 bytes are free."""
    taken = []
    monkeypatch.setattr(plan, "available_memory", lambda: 12_000)
    monkeypatch.setattr(command, "usable_cores", lambda: 4)
    monkeypatch.setattr(command, "Local", lambda slots: taken.append(slots) or Here())
    words = ("sweep", *TOY, "seed=range(0,4)", "--dir", tmp_path / "sweep")
    assert console(*words, "--jobs", 3) == exits.WRONG
    assert "--jobs 3: the full replays of so many jobs need 17.2 kB, and 12 kB are free: --jobs 2 fits" in capsys.readouterr().err
    assert console(*words) == exits.STOPPED
    assert taken == [2]
    assert "2 jobs side by side, because" in capsys.readouterr().err


def test_a_limit_of_jobs_holds_until_another_is_given(tmp_path, untrained, monkeypatch):
    """Someone may have set it because of memory."""
    taken = []
    monkeypatch.setattr(command, "usable_cores", lambda: 4)
    monkeypatch.setattr(command, "Local", lambda slots: taken.append(slots) or Here())
    folder = tmp_path / "sweep"
    assert console("sweep", *TOY, "seed=range(0,3)", "--jobs", 1, "--dir", folder) == exits.STOPPED
    for limit in ((), ("--jobs", 3), ()):
        console("sweep", "resume", folder, *limit)
    assert taken == [1, 1, 3, 3]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["seed=0,1", "agent.optimizer.lrr=1"], "agent.optimizer.lr?"),
        (["seed=0,1", "init_from=nowhere"], "init_from=nowhere"),
        (["seed=0,1", "accelerate=compiled"], "accelerate=compiled needs a C++ compiler"),
        (["seed=0,1", "--job", "2"], "--job"),
        (["agent=dqn,idqnn"], "agent=idqnn"),
        (["seed=0,-1"], "seed=-1 is out of range.* (job seed=-1)"),
        (["agent=dqn,td3", "env=toy/chain"], "agent=td3 takes continuous actions"),
        (["agent.optimizer.lr=1,-1"], "agent.optimizer.lr"),
        (["seed=0,1", "--jobs", "0"], "--jobs: it takes a whole number of at least 1, not 0"),
        (["seed=0,1", "--slurm", "mem_gb=3"], "--slurm is for --on slurm"),
        ([], "deeprl sweep takes a grid"),
        (["resume"], "deeprl sweep resume takes the folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(tmp_path, monkeypatch, here, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("deeprl.running.session.needs.has_compiler", lambda: False)
    assert console("sweep", *words) == exits.WRONG
    error = capsys.readouterr().err
    assert all(part in error for part in says.split(".* "))
    assert here.started == []
    assert os.listdir(tmp_path) == []


def test_jobs_are_tried_with_the_batches_of_their_replay(monkeypatch):
    tried = []
    monkeypatch.setattr("deeprl.running.session.needs.dry_run", lambda agent, spec, device, sequences=False: tried.append(sequences))
    plan.check(expand(["agent=dqn", "env=toy/chain", "replay=uniform,sequences"]), here=False)
    assert tried == [False, True]


def test_a_run_that_trains_on_is_told_where_jobs_read_it_without_a_step(tmp_path):
    """Jobs of one sweep learned from different checkpoints, and nothing said so."""
    for name, state in (("on", "running"), ("over", "finished"), ("off", "stopped")):
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).write_status(state, 10, 1)
    names = [f"{tmp_path}/{name}" for name in ("on", "on@best", "on@5", "over", "off", "nothing")]
    told = plan.unsettled(
        [{"init_from": None, "replay": {"data": name}} for name in [*names, *names]] + [{"init_from": names[0], "replay": {}}]
    )
    assert [line.partition(":")[0] for line in told] == [f"replay.data={tmp_path}/on", f"init_from={tmp_path}/on"]
    assert all("that run is running" in line and line.endswith("/on@STEP") for line in told)


def test_a_folder_of_something_else_is_refused(tmp_path, here, capsys):
    (tmp_path / "thesis.txt").touch()
    assert console("sweep", *TOY, "--dir", tmp_path) == exits.WRONG
    assert "exists and holds no sweep" in capsys.readouterr().err


def test_jobs_stop_saved_when_the_next_one_cannot_be_started(tmp_path, monkeypatch, capsys):
    """The log of the second job meets a full disk."""

    class Full(Here):
        slots, told = 2, ""

        def start(self, task: Task):
            if self.started:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.started.append(task.run.name)
            return self

        def poll(self):
            return None

        def stop(self):
            self.told += "stop"

        def kill(self):
            self.told += "kill"

    launcher = Full()
    monkeypatch.setattr(command, "Local", lambda slots: launcher)
    assert console("sweep", *TOY, "seed=1,2", "--dir", tmp_path / "sweep") == exits.FAILED
    assert "No space left on device" in capsys.readouterr().err
    assert (launcher.started, launcher.told) == (["seed=1"], "stop")


def test_sweeps_of_one_second_get_folders_of_their_own(tmp_path, monkeypatch, here):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.time, "strftime", lambda *_: "now")
    for _ in range(2):
        assert console("sweep", *TOY, "seed=1") == exits.FINISHED
    assert sorted(os.listdir("runs")) == ["sweep_now", "sweep_now-2"]


def test_a_run_that_another_process_holds_is_refused(tmp_path, here, capsys):
    with RunFolder(tmp_path / "sweep" / "seed=2").lock():
        SweepFolder(tmp_path / "sweep", ["x"], [Job("seed=2", (*TOY, "seed=2"))]).store()
        assert console("sweep", "resume", tmp_path / "sweep") == exits.FAILED
    assert f"still run elsewhere: seed=2 (pid {os.getpid()}" in capsys.readouterr().err
    assert here.started == []


# ---- processes


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Iterator[list[tuple[Path, multiprocessing.Process]]]:
    """Two sweeps, each as a process in a process group of its own as from a shell, once their first jobs have trained a few steps.
    Begun together, because most of it is waiting for their jobs to start."""

    def sweep(folder: Path) -> None:
        os.setpgid(0, 0)
        with open(folder.with_suffix(".out"), "w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = console("sweep", *LONG, "seed=1,2", "--jobs", "1", "--dir", folder)
        os._exit(code)

    folders = [tmp_path_factory.mktemp("begun") / "sweep" for _ in range(2)]
    sweeps = [multiprocessing.get_context("fork").Process(target=sweep, args=(folder,)) for folder in folders]  # which import nothing again
    for process in sweeps:
        process.start()
    for folder, process in zip(folders, sweeps, strict=True):
        while process.is_alive() and not lines(folder / "seed=1", "metrics.jsonl"):
            time.sleep(0.05)
        assert process.is_alive(), folder.with_suffix(".out").read_text()
    yield [*zip(folders, sweeps, strict=True)]
    for process in sweeps:  # of a test that was not chosen, or failed
        process.kill()


def assert_saved(run: Path) -> None:
    status = RunFolder(run).read_status()
    assert status["state"] == "stopped"
    assert status["step"] > 0
    assert (run / "checkpoints" / "last").exists()


def test_one_interrupt_of_the_terminal_stops_every_job_saved(begun):
    """The sweep and its jobs get it together, and a job that got a second one would lose its steps."""
    folder, process = begun[0]
    os.killpg(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == exits.STOPPED
    assert_saved(folder / "seed=1")
    assert not (folder / "seed=2").exists()
    out = folder.with_suffix(".out").read_text()
    assert f"deeprl sweep resume {folder}" in out
    assert "2 unfinished" in out


def test_a_job_under_nohup_goes_on_when_its_terminal_closes():
    before = {number: signal.getsignal(number) for number in HANDLED}
    try:
        for number in HANDLED:  # the tests themselves may run in the background, where SIGINT is ignored
            signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        leave_at_signals()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert all(callable(signal.getsignal(number)) for number in HANDLED if number != signal.SIGHUP)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_jobs_of_a_killed_sweep_stop_saved(begun):
    folder, process = begun[1]
    process.kill()
    process.join()
    while holder(folder / "seed=1"):  # the lock is gone with its process
        time.sleep(0.05)
    assert_saved(folder / "seed=1")


# ---- clusters


def toy_task(folder: Path, *words: str) -> Task:
    return Task((*TOY, "runtime.threads=1", *words), folder / "run", folder / "run.log", ROOT)


def test_a_missing_package_is_named(monkeypatch, tmp_path, capsys):
    for name in ("submitit", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
        place = {"submitit": "slurm"}.get(name, name)
        monkeypatch.chdir(tmp_path)
        assert console("sweep", *TOY, "--on", place) == exits.WRONG
        assert f'pip install "{name}>=' in capsys.readouterr().err
    assert list(tmp_path.rglob("sweep_*")) == []


@pytest.mark.parametrize(
    ("config", "word"),
    [({"logger": {"wandb": True}}, "logger.wandb=true"), ({"collect": {"address": "10.0.0.1:6379"}}, "collect.address=10.0.0.1:6379")],
)
def test_jobs_of_a_stored_sweep_connect_only_if_the_command_names_it(config, word):
    with pytest.raises(ConfigError, match=f"allow it with --allow-connection {word}"):
        require_allowed(config, ("deeprl", "wandb"))
    require_allowed(config, ("deeprl", word))


def test_a_stored_address_of_ray_is_joined_only_if_the_command_repeats_it(tmp_path):
    """The cluster may send any code, and the folder may be a stranger's."""
    folder = SweepFolder(tmp_path, ["seed=1"], [Job("seed=1", ("seed=1",))], place=Place("ray", ray_address="10.0.0.1:6379"))

    def place(on: str | None = None, address: str | None = None) -> Place:
        return command.placed(SimpleNamespace(on=on, slurm=[], ray_address=address, jobs=None), folder.place)

    for on in (None, "ray"):
        with pytest.raises(ConfigError, match="--ray-address 10.0.0.1:6379: this connects to a Ray cluster"):
            place(on)
    assert place(address="10.0.0.1:6379") == folder.place
    assert place(address="auto").connects() == place("local").connects() == ""
    assert folder.resume_command() == f"deeprl sweep resume {tmp_path} --ray-address 10.0.0.1:6379"


def test_a_preempted_job_of_submitit_is_requeued_and_goes_on(tmp_path):
    pytest.importorskip("submitit")
    from deeprl.tools.sweep.slurm import Slurm, executor

    launcher = Slurm(executor(tmp_path / "submitit", ["cluster=local", "timeout_min=60", "partition=long"], 1))
    words = (
        "steps=3000",
        "replay.learning_starts=2900",
        "log.every=50",
        "checkpoint.every=200",
    )  # long enough to be stopped on any machine
    task = toy_task(tmp_path, *words)
    running = launcher.start(task)
    while not lines(task.run, "metrics.jsonl"):
        assert running.poll() is None
        time.sleep(0.05)
    assert launcher.farewell() == f"1 jobs go on. To stop them, saved: kill {running.job.job_id}"
    assert not list(tmp_path.glob("**/*.slurm"))  # whose number would be looked for in a queue
    (worker,) = Path(f"/proc/{running.job.job_id}/task/{running.job.job_id}/children").read_text().split()
    os.kill(int(worker), signal.SIGUSR2)
    while (code := running.poll()) is None:
        time.sleep(0.1)
    assert code == exits.FINISHED
    first, second = json.loads((task.run / "system.json").read_text())
    assert second["resumed_from"] > 0
    assert first["resumed_from"] is None
    assert "SIGUSR2: saving at the next step" in task.log.read_text()
    alone = tmp_path / "alone"
    assert front_door(*task.overrides, f"hydra.run.dir={alone}") == exits.FINISHED
    assert lines(alone, "metrics.jsonl") == lines(task.run, "metrics.jsonl")


PENDING = 'printf "JobID|State|NodeList\\n12|PENDING|\\n"'
SLURM = {
    "srun": "",
    "sbatch": 'echo "Submitted batch job 12" | tee -a $SLURM_TEST/submitted; kill -TERM $PPID',
    "sacct": f"{PENDING}; [ ! -e $SLURM_TEST/submitted ] || kill -TERM $PPID",
}
"""A Slurm whose one job stays in the queue. Each command stops the sweep when it has answered."""


def install(scripts: Path, commands: dict[str, str], monkeypatch) -> None:
    """Put shell scripts first on the PATH, which answer at once."""
    monkeypatch.setattr("deeprl.tools.sweep.slurm.Slurm.pause", 0.05)
    scripts.mkdir()
    for name, script in commands.items():
        (scripts / name).write_text(f"#!/bin/sh\n{script}\n")
        (scripts / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{scripts}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_TEST", str(scripts.parent))


def test_a_job_that_slurm_refuses_ends_the_sweep_with_its_remedy(tmp_path, monkeypatch, capsys):
    """The job before stays in the queue."""
    pytest.importorskip("submitit")
    once = 'if mkdir $SLURM_TEST/once 2>&-; then echo "Submitted batch job 12"; else echo "sbatch: error: no room" >&2; exit 1; fi'
    install(tmp_path / "bin", {"srun": "", "sbatch": once, "sacct": PENDING}, monkeypatch)
    folder = tmp_path / "sweep"
    assert console("sweep", *TOY, "seed=1,2", "--dir", folder, "--on", "slurm", "--slurm", "timeout_min=90") == exits.FAILED
    said = capsys.readouterr().err
    assert f"{folder / 'seed=2'}: Slurm refused the job: sbatch: error: no room. Resume as it is" in said
    assert f"deeprl sweep resume {folder}" in said
    assert "scancel 12\n" in said


def test_a_job_of_slurm_whose_number_cannot_be_kept_is_cancelled(tmp_path, monkeypatch):
    """It stayed in the queue, and a resumed sweep put it there once more."""
    pytest.importorskip("submitit")
    job = SimpleNamespace(job_id="12", cancel=Mock())
    monkeypatch.setattr(slurm, "replace_file", Mock(side_effect=OSError(errno.ENOSPC, "no space")))
    launcher = slurm.Slurm(SimpleNamespace(folder=tmp_path / "submitit" / "one", submit=lambda submission: job))
    with pytest.raises(OSError, match="no space"):
        launcher.start(toy_task(tmp_path))
    job.cancel.assert_called_once_with()
    assert launcher.farewell() == ""


def test_a_job_that_trains_elsewhere_is_not_submitted_to_slurm(tmp_path, monkeypatch, capsys):
    """But one whose Slurm job is in the queue may well train."""
    pytest.importorskip("submitit")
    install(tmp_path / "bin", {**SLURM, "sacct": PENDING}, monkeypatch)
    folder = tmp_path / "sweep"
    words = ("sweep", *TOY, "seed=1,2", "--dir", folder, "--on", "slurm", "--slurm", "timeout_min=90")
    assert console(*words) == exits.STOPPED  # seed=1 is in the queue
    for seed, code in ((2, exits.FAILED), (1, exits.STOPPED)):
        with RunFolder(folder / f"seed={seed}").lock():
            assert console(*words) == code
    assert f"still run elsewhere: seed=2 (pid {os.getpid()}" in capsys.readouterr().err
    assert (tmp_path / "submitted").read_text().count("12") == 2  # seed=2 in the end


def test_jobs_of_slurm_stay_in_the_queue_and_are_found_there(tmp_path, monkeypatch, capsys):
    pytest.importorskip("submitit")
    scripts, folder = tmp_path / "bin", tmp_path / "sweep"
    install(scripts, SLURM, monkeypatch)
    words = ("sweep", *TOY, "seed=1,2", "--dir", folder, "--on", "slurm")
    assert console(*words, "--slurm", "partitoin=long") == exits.WRONG
    assert "partitoin" in capsys.readouterr().err
    assert console(*words, "--slurm", "partition=long") == exits.WRONG
    assert "--slurm timeout_min=600" in capsys.readouterr().err  # submitit's own limit is five minutes
    for again in (False, True):  # where and how it ran stays with the sweep
        place = ("--slurm", "partition=long", "--slurm", "timeout_min=90")
        assert console(*(("sweep", "resume", folder) if again else (*words, *place))) == exits.STOPPED
        said = capsys.readouterr().out
        assert "To stop them, saved: scancel 12\n" in said
        assert "2 unfinished" in said
        assert re.fullmatch("12 [0-9a-f]{16}\n", (folder / "seed=1.slurm").read_text())
        assert not (folder / "seed=2.slurm").exists()
    assert (tmp_path / "submitted").read_text().count("12") == 1
    (scripts / "sacct").write_text(f"#!/bin/sh\n{PENDING}\n")
    assert console("sweep", "resume", folder, "--on", "local") == exits.FAILED
    assert "in Slurm's queue there are still jobs for seed=1" in capsys.readouterr().err
    assert SweepFolder.read(folder).place.on == "slurm"
    (script,) = (folder / "submitit").glob("*/*submission.sh")
    assert f"{sys.executable} -P -u -m submitit" in script.read_text()  # of no decoy in the current folder
    assert all(f"#SBATCH --{word}" in script.read_text() for word in ("partition=long", "time=90", "cpus-per-task=1", "signal=USR2@90"))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("time=10:00:00", "a whole number of minutes.*--slurm timeout_min=600"),
        ("time=1-00:00:00", "a whole number of minutes"),
        ("timeout_min=0", "a whole number of minutes"),
        ("slurm_timeout_min=1,2", "a whole number of minutes"),
        ("nodes=2", "one run in one process. Leave nodes out"),
        ("setup=module load cuda", "setup takes a list or a dictionary"),
        ("slurm_tasks_per_node=2", "one run in one process"),
        ("cluster=here", "it is slurm, or local"),
        ("partition", "not of the form KEY=VALUE"),
        ("=long", "not of the form KEY=VALUE"),
    ],
)
def test_a_parameter_that_a_job_would_die_of_is_refused(word, says, tmp_path):
    """submitit computes with the time limit when it is reached, and gives every task of a job the same run."""
    pytest.importorskip("submitit")
    from deeprl.tools.sweep import slurm

    with pytest.raises(ConfigError, match=rf"--slurm {re.escape(word)}.*{says}"):
        slurm.executor(tmp_path, ["timeout_min=600", word], 1)


def test_parameters_of_slurm_arrive_as_they_are_written(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    from deeprl.tools.sweep import slurm

    install(tmp_path / "bin", {"srun": ""}, monkeypatch)
    text = {"partition": "a,b", "exclude": "n[1-3]", "constraint": "[a100|h100]", "qos": "007", "gres": "gpu:2", "comment": "2026-13-01"}
    words = [*(f"{name}={value}" for name, value in text.items()), "slurm_timeout_min=600", "exclusive=true", "setup=[module load cuda]"]
    found = slurm.executor(tmp_path, words, 1)._executor.parameters
    expected = {**text, "job_name": "deeprl", "cpus_per_task": 1, "time": 600, "exclusive": True, "setup": ["module load cuda"]}
    assert found == expected


@pytest.mark.parametrize(
    ("answer", "gone"), [("echo RUNNING", False), ("echo 'Invalid job id specified' >&2; exit 1", True), ("exit 1", False)]
)
def test_a_job_that_left_the_queue_without_an_answer_is_lost(answer, gone, tmp_path, monkeypatch):
    """A cluster without accounts: sacct knows nothing. One look that lacks the job is not enough, because an answer may be on its way."""
    pytest.importorskip("submitit")
    from deeprl.tools.sweep import slurm

    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "AGAIN", 0.0)
    job = slurm.Queued(SimpleNamespace(state="UNKNOWN", job_id="12", done=lambda: False), tmp_path / "log")
    assert [job.poll(), job.poll()] == [None, exits.FAILED if gone else None]
    assert not gone or "Slurm has no job 12 any more" in (tmp_path / "log").read_text()


class Called:
    """Pickled as a call of a function."""

    def __reduce__(self):
        return os.mkdir, ("called",)


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (None, exits.FAILED, "it left no answer"),
        (("success", exits.STOPPED), exits.STOPPED, ""),
        (("error", "a traceback"), exits.FAILED, "a traceback"),
        (("success", Called()), exits.FAILED, "it names posix.mkdir"),
    ],
)
def test_the_answer_of_a_job_calls_nothing(answer, code, says, tmp_path, monkeypatch):
    """It lies in the folder of the sweep, which may be a stranger's."""
    from deeprl.tools.sweep import slurm

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "RESULT_WAIT", 0)
    if answer is not None:
        (tmp_path / "12_0_result.pkl").write_bytes(pickle.dumps(answer))
    paths = SimpleNamespace(result_pickle=tmp_path / "12_0_result.pkl")
    job = slurm.Queued(SimpleNamespace(done=lambda: True, job_id="12", paths=paths), tmp_path / "log")
    assert job.poll() == job.poll() == code
    assert not says or (tmp_path / "log").read_text().count(says) == 1  # the last lines of a sweep ask again
    assert not (tmp_path / "called").exists()


def test_scancel_stops_the_run_of_a_job():
    from deeprl.tools.sweep.slurm import Submission

    class Process:
        """A run during which Slurm signals its job."""

        code: int | None = None

        def poll(self):
            os.kill(os.getpid(), signal.SIGTERM)
            return self.code

        def send_signal(self, number):
            self.code = number

    process = Process()
    before = signal.signal(signal.SIGTERM, lambda *_: setattr(process, "code", -1))  # a job without a handler of its own would die
    try:
        assert Submission(SimpleNamespace(begin=lambda: process))() == signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_slurm_its_queue_is_refused(tmp_path, monkeypatch, capsys):
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert console("sweep", *TOY, "--on", "slurm") == exits.WRONG
    said = capsys.readouterr().err
    assert "--on slurm: " in said
    assert "add --slurm cluster=local" in said
    assert list(tmp_path.rglob("sweep_*")) == []


@pytest.mark.exhaustive
def test_ray_runs_jobs_and_stops_them_saved(tmp_path):
    pytest.importorskip("ray")
    from deeprl.tools.sweep.ray import Ray

    launcher = Ray(None, threads=1)
    try:
        short, long = toy_task(tmp_path), Task((*LONG, "runtime.threads=1"), tmp_path / "long", tmp_path / "long.log", ROOT)
        running = launcher.start(short)
        while (code := running.poll()) is None:
            time.sleep(0.1)
        assert code == exits.FINISHED
        running = launcher.start(long)
        while not lines(long.run, "metrics.jsonl"):
            assert running.poll() is None
            time.sleep(0.1)
        running.stop()
        while (code := running.poll()) is None:
            time.sleep(0.1)
        assert code == exits.STOPPED
        assert state(long.run) == "stopped"
    finally:
        launcher.farewell()
