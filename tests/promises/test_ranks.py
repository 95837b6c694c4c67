"""Runs of two ranks: one run folder; stopped, killed at any write or failed on one rank, they end where the undisturbed run ends, bit for
bit; a rank that ends takes the other with it, with a message."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deeprl.cli import exits
from deeprl.cli.replay_crash import newest
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session import session
from deeprl.running.session.complete import complete
from deeprl.running.training.collector import Collector
from deeprl.running.training.distributed import join
from deeprl.running.training.evaluator import Evaluator
from deeprl.running.training.saving import Saver
from tests.builders import CARTPOLE, composed, console, equal, front_door, lines
from tests.promises.test_kills import after
from tests.promises.test_resume import assert_same_run, at_step
from tests.ranks import in_ranks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")

RUNS = {
    "dqn": (*CARTPOLE, "learner=distributed", "accelerate=fast"),
    "prioritized": (*CARTPOLE, "learner=distributed", "accelerate=fast", "replay=prioritized"),
    "ppo": (
        "agent=ppo", "env=classic/cartpole", "env.num=2", "steps=300", "replay.length=16", "agent.torso.hidden=[16]", "log.every=50",
        "evaluation.every=100", "evaluation.episodes=2", "evaluation.final_episodes=3", "checkpoint.every=80", "learner=distributed",
        "accelerate=fast",
    ),
}  # fmt: skip
"""75 ticks of two ranks with two environments"""


def typed(path: Path, *words: str) -> int:
    return front_door(*words, f"hydra.run.dir={path}")


def begun(path: Path, *words: str) -> int:
    """As `typed`, from where Hydra has composed."""
    config, user, _ = composed(*words)
    config = complete(config, user)
    ranks = join(config, path)
    if ranks.first:
        path.mkdir()
    return exits.guarded(lambda: exits.ended(*session.train(config, path, ranks=ranks), path), path)


def resumed(path: Path) -> int:
    return console("resume", path)


def both(command) -> list[int]:
    return in_ranks(2, lambda rank: command())


@pytest.fixture(scope="module")
def whole(finished, tmp_path_factory):
    """`whole(name)`: the folder of that run, undisturbed. The run `finished` has imported what every process would import again."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("whole") / name
            assert both(lambda: typed(folders[name], *RUNS[name])) == [exits.FINISHED] * 2
        return folders[name]

    return folder


def assert_same(path: Path, whole: Path, saved_alike: bool = True) -> None:
    """The run, and the part of the second rank.

    Args:
        saved_alike: both runs had the same checkpoints, hence the same segments of the replay.
    """
    assert_same_run(path, whole)
    (step, mine), (other, theirs) = (Checkpoints(each / "ranks" / "1").load("last") for each in (path, whole))
    assert step == other
    assert mine.keys() == theirs.keys() == {"collector", "trainer", "replay"}
    assert mine["trainer"]["update_noise"] == theirs["trainer"]["update_noise"]
    assert mine["collector"]["obs"].tolist() == theirs["collector"]["obs"].tolist()
    assert mine["collector"]["recent"] == theirs["collector"]["recent"]
    if not saved_alike:
        return
    segments = [[dict(rows) for rows in Checkpoints(each / "ranks" / "1").segments(step)] for each in (path, whole)]
    assert len(segments[0]) == len(segments[1])
    assert all(equal(one, other) for one, other in zip(*segments))


def test_two_ranks_leave_one_run_folder(whole):
    path = whole("dqn")
    status, (start,) = RunFolder(path).read_status(), RunFolder(path).read_system()
    assert (status["state"], status["step"], status["updates"]) == ("finished", 300, 60)  # of all ranks: an update each four steps after 60
    assert start["ranks"] == 2
    assert [line["step"] for line in lines(path, "evaluations.jsonl")] == [100, 200, 300]
    assert {line["step"] for line in lines(path, "metrics.jsonl")} == {52, 100, 152, 200, 252, 300}
    assert len(list(path.glob("events*"))) == 1
    assert {entry.name for entry in (path / "ranks" / "1").iterdir()} == {"checkpoints", "replay"}
    assert Checkpoints(path).steps() == Checkpoints(path / "ranks" / "1").steps()
    (_, first), (_, second) = (Checkpoints(each).load("last") for each in (path, path / "ranks" / "1"))
    assert first["collector"]["obs"].tolist() != second["collector"]["obs"].tolist()
    assert first["trainer"]["ranks"] == 2


@pytest.mark.parametrize(
    ("name", "rank", "step"),
    [("dqn", 1, 120), *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in (("prioritized", 0, 160), ("ppo", 1, 160)))],
)
def test_a_signal_at_one_rank_stops_all_at_the_same_step(name, rank, step, tmp_path, monkeypatch, whole, capfd):
    path = tmp_path / "stopped"
    monkeypatch.setattr("deeprl.system.ranks.PERIOD", 3)

    def work(number: int) -> int:
        if number == rank:
            at_step(monkeypatch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        return begun(path, *RUNS[name])

    assert in_ranks(2, work) == [exits.STOPPED] * 2
    status = RunFolder(path).read_status()
    assert (status["state"], status["error"]) == ("stopped", "stopped by SIGTERM")
    assert step < status["step"] <= step + 4 * 3
    assert capfd.readouterr().out.count(f"torchrun --nproc-per-node=2 -m deeprl resume {path}") == 1
    assert both(lambda: resumed(path)) == [exits.FINISHED] * 2
    assert_same(path, whole(name))


@pytest.mark.exhaustive
def test_a_signal_at_one_rank_ends_an_evaluation_of_the_other(tmp_path, monkeypatch, whole):
    path = tmp_path / "stopped"
    monkeypatch.setattr("deeprl.system.ranks.PERIOD", 3)

    def work(number: int) -> int:
        if number == 0:  # only the first rank evaluates, so the other one waits when it gets the signal
            plain = Evaluator.__call__

            def evaluate(self, *arguments):
                os.kill(other(path), signal.SIGTERM)
                return plain(self, *arguments)

            monkeypatch.setattr(Evaluator, "__call__", evaluate)
        else:
            path.with_suffix(".pid").write_text(str(os.getpid()))
        return begun(path, *RUNS["dqn"])

    assert in_ranks(2, work) == [exits.STOPPED] * 2
    assert RunFolder(path).read_status()["step"] == 100
    assert not lines(path, "evaluations.jsonl")
    assert both(lambda: resumed(path)) == [exits.FINISHED] * 2
    assert_same(path, whole("dqn"))


def other(path: Path) -> int:
    return int(path.with_suffix(".pid").read_text())


def fatal(monkeypatch, count: int) -> None:
    """SIGKILL at the `count`-th flush, rename or replacement of a file in this process."""
    shared = after(count, lambda function, *args, **kwargs: function(*args, **kwargs))
    for name in ("fsync", "rename", "replace"):
        plain = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, plain=plain, **kwargs: shared(plain, *args, **kwargs))


@pytest.mark.parametrize(
    "moments",
    [[(1, 9), (0, 27), (1, 4)], pytest.param([(1, 5), (0, 20), (1, 13), (0, 15), (1, 17), (0, 35), (1, 2)], marks=pytest.mark.exhaustive)],
    ids=["three", "seven"],
)
def test_kills_at_any_write_of_any_rank(moments, tmp_path, whole, capfd):
    """At the n-th write of one rank: the other one ends with a message. A kill between the parts of two ranks leaves the
    checkpoint before."""
    path = tmp_path / "killed"
    for victim, count in moments:

        def work(rank: int, victim: int = victim, count: int = count) -> int:
            if rank == victim:
                fatal(pytest.MonkeyPatch(), count)
            return resumed(path) if (path / "config.yaml").exists() else begun(path, *RUNS["dqn"])

        codes = in_ranks(2, work)
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] == exits.FAILED
        said = capfd.readouterr().err
        assert "failed, because another rank ended or did not come within 30 minutes" in said
        assert f"torchrun --nproc-per-node=2 -m deeprl resume {path}" in said
    assert both(lambda: resumed(path)) == [exits.FINISHED] * 2
    assert_same(path, whole("dqn"))
    assert Checkpoints(path).steps() == Checkpoints(path / "ranks" / "1").steps()
    assert not list(path.rglob("*partial*"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_of_one_rank_leaves_the_checkpoint_before(rank, tmp_path, monkeypatch, whole, capfd):
    """Neither rank counts a checkpoint that the other could not write, and none removes what the run still needs: the first rank fails five
    times while the other one saves."""
    path, plain = tmp_path / "full", Saver.save
    often = [*(word for word in RUNS["dqn"] if not word.startswith("checkpoint.every")), "checkpoint.every=20"]

    def work(number: int) -> int:
        def save(self, step, parts, best):
            if step > 180 and number == rank:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return plain(self, step, parts, best)

        monkeypatch.setattr(Saver, "save", save)
        at_step(monkeypatch, 280, lambda: os.kill(os.getpid(), signal.SIGKILL))
        return begun(path, *often)

    assert in_ranks(2, work) == [-signal.SIGKILL] * 2
    assert capfd.readouterr().err.count("could not be written, the one of step 180 is untouched") == 5
    assert Checkpoints(path).pointed("last") == 180
    assert both(lambda: resumed(path)) == [exits.FINISHED] * 2
    assert_same(path, whole("dqn"), saved_alike=False)


def test_an_error_of_one_rank_ends_the_other(tmp_path, monkeypatch, whole, capfd):
    path = tmp_path / "failed"

    def work(rank: int) -> int:
        if rank == 1:
            at_step(monkeypatch, 200, lambda: 1 / 0)
        return begun(path, *RUNS["dqn"])

    assert in_ranks(2, work) == [exits.FAILED] * 2
    said = capfd.readouterr().err
    assert "deeprl, rank 1: the run failed: ZeroDivisionError" in said
    assert "deeprl: the exchange of" in said
    assert RunFolder(path).read_status()["state"] == "failed"
    assert "ZeroDivisionError" in (path / "traceback.txt").read_text()
    assert both(lambda: resumed(path)) == [exits.FINISHED] * 2
    assert_same(path, whole("dqn"))


@pytest.mark.exhaustive
def test_a_rank_that_hangs_is_not_waited_for(tmp_path, monkeypatch, capfd):
    """It goes on once the other one has ended, and then ends too."""
    path, ended = tmp_path / "hangs", tmp_path / "ended"

    def work(rank: int) -> int:
        def wait() -> None:
            while not ended.exists():
                time.sleep(0.1)

        if rank == 1:
            at_step(monkeypatch, 200, wait)
        code = begun(path, *RUNS["dqn"], "learner.timeout=0.1")
        ended.touch()
        return code

    assert in_ranks(2, work) == [exits.FAILED] * 2
    assert (
        "deeprl: the exchange of gradients failed, because another rank ended or did not come within 0.1 minutes" in capfd.readouterr().err
    )
    assert RunFolder(path).read_status()["state"] == "failed"


def test_a_batch_that_is_not_finite_is_saved_by_its_own_rank(tmp_path, monkeypatch, capfd):
    path, plain = tmp_path / "nan", Collector.tick

    def work(rank: int) -> int:
        def tick(self, step):
            plain(self, step)
            if rank == 1 and step == 200:
                for objective in self.agent.objectives.values():
                    monkeypatch.setattr(objective, "loss", poisoned(objective.loss))

        monkeypatch.setattr(Collector, "tick", tick)
        return begun(path, *RUNS["dqn"])

    def poisoned(loss):
        def call(batch):
            return loss(batch._replace(reward=batch.reward * float("nan")))

        return call

    assert in_ranks(2, work) == [exits.FAILED] * 2
    (bundle,) = (path / "crash").iterdir()
    assert (bundle.name, newest(path)) == ("step_000000000204_rank1", bundle)
    said = capfd.readouterr().err
    assert "is not finite on another rank, which has saved its batch" in said
    assert "deeprl, rank 1: the run failed: NotFinite" in said


def test_another_number_of_ranks_is_refused(whole, capfd):
    path = whole("dqn")
    before = (path / "status.json").read_bytes()
    assert in_ranks(1, lambda rank: console("resume", path, "steps=400")) == [exits.WRONG]
    said = capfd.readouterr().err
    assert "this run has 2 ranks, and 1 were started" in said
    assert f"torchrun --nproc-per-node=2 -m deeprl resume {path}" in said
    assert (path / "status.json").read_bytes() == before


def test_ranks_go_on_from_the_newest_checkpoint_that_all_can_read(whole, tmp_path, capfd):
    path = tmp_path / "run"
    shutil.copytree(whole("dqn"), path)
    part = Checkpoints(path / "ranks" / "1")
    before, last = part.steps()
    (part.at(last) / "state.json").write_text("")
    assert in_ranks(2, lambda rank: console("resume", path, "steps=320")) == [exits.FINISHED] * 2
    assert f"resumed from step {before}" in capfd.readouterr().err
    for step in part.steps():
        (part.at(step) / "state.json").write_text("")
    assert in_ranks(2, lambda rank: console("resume", path, "steps=340")) == [exits.FAILED] * 2
    said = capfd.readouterr().err
    assert "state.json is damaged" in said
    assert "can be resumed" not in said


def test_a_part_behind_a_link_is_refused(whole, tmp_path, capfd):
    """In a stranger's run folder it may lead to checkpoints of the user."""
    path, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(whole("dqn"), path)
    (path / "ranks").rename(elsewhere)
    (path / "ranks").symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    assert in_ranks(2, lambda rank: console("resume", path, "steps=400")) == [exits.FAILED] * 2
    assert f"{path / 'ranks'} is a link, which is refused" in capfd.readouterr().err
    assert sorted(elsewhere.rglob("*")) == before


def test_a_sweep_and_one_process_are_refused(tmp_path, capfd, monkeypatch):
    assert front_door(*RUNS["dqn"], f"hydra.run.dir={tmp_path / 'alone'}") == exits.WRONG
    assert "torchrun --nproc-per-node=2 train.py learner=distributed" in capfd.readouterr().err
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert front_door(*RUNS["dqn"], "seed=1,2", "-m", f"hydra.sweep.dir={tmp_path / 'm'}") == exits.WRONG
    assert "leave one of them out" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.exhaustive
def test_torchrun_trains_is_killed_and_resumes(tmp_path, whole):
    """The commands of the documentation: SIGKILL of all processes after a checkpoint, then one signal to torchrun, then the end."""
    path = tmp_path / "torchrun"
    train = [str(ROOT / "train.py"), *RUNS["dqn"], f"hydra.run.dir={path}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]

    def started(*command: str) -> subprocess.Popen:
        return subprocess.Popen([*torchrun, *command], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)

    first = started(*train)
    while not Checkpoints(path).steps():
        assert first.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    for process in (str(first.pid), *children):
        os.kill(int(process), signal.SIGKILL)
    first.wait()
    assert subprocess.run([*torchrun, "-m", "deeprl", "resume", str(path)], cwd=ROOT, check=False).returncode == 0
    assert RunFolder(path).read_status()["state"] == "finished"
    assert json.loads((path / "summary.json").read_text())["updates"] == 60
