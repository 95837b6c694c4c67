"""`deeprl clean`, in this process: what could go on, or holds somebody's file, stays."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from deeprl.cli import clean, exits
from deeprl.running.runs.folder import RunFolder
from deeprl.system import files, machine
from deeprl.tools.sweep.folder import SweepFolder
from deeprl.tools.sweep.grid import Job
from deeprl.tools.tune.settings import Settings
from tests.builders import console
from tests.tools.report.folders import write_run


@pytest.fixture
def runs(tmp_path):
    """Runs by what becomes of them; each has 500 steps."""
    kept, gone = {}, {}
    gone["short"] = write_run(tmp_path / "classic" / "dqn" / "short")
    gone["failed"] = write_run(tmp_path / "other" / "failed", state="failed", error="RuntimeError: no more")
    kept["failed, saved"] = write_run(tmp_path / "failed_saved", state="failed", error="x")
    (kept["failed, saved"] / "checkpoints" / "step_000000000100").mkdir(parents=True)
    kept["killed"] = write_run(tmp_path / "killed", state="running")
    kept["stopped"] = write_run(tmp_path / "stopped", state="stopped")
    kept["with notes"] = write_run(tmp_path / "notes")
    (kept["with notes"] / "notes.txt").write_text("mine")
    kept["damaged"] = write_run(tmp_path / "damaged")
    (kept["damaged"] / "status.json").write_text("{")
    kept["exported"] = write_run(tmp_path / "exported")
    (kept["exported"] / "exports").mkdir()
    kept["with data"] = write_run(tmp_path / "data")
    (kept["with data"] / "data.log").mkdir()
    kept["copy of one's own"] = write_run(tmp_path / "copy")
    (kept["copy of one's own"] / "checkpoints" / "mine").mkdir(parents=True)
    kept["job"] = write_run(tmp_path / "sweep" / "seed=1")
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    kept["linked"] = tmp_path / "elsewhere" / "link"
    kept["linked"].parent.mkdir()
    kept["linked"].symlink_to(kept["stopped"])
    return kept, gone


def test_what_could_go_on_stays(runs, tmp_path, capsys):
    kept, gone = runs
    with RunFolder(held := write_run(tmp_path / "held")).lock():
        assert console("clean", tmp_path, "--yes") == exits.FINISHED
    assert [path.exists() for path in (*kept.values(), held)] == [True] * (len(kept) + 1)
    assert not any(path.exists() for path in gone.values())
    assert not (tmp_path / "classic").exists()  # nothing is left in it
    assert capsys.readouterr().out.count("\n") == len(gone)


def test_data_of_a_run_that_may_go_on_stay(tmp_path, capsys):
    """And so do the weights that a run without a checkpoint begins with; what is removed with the run that names it does not."""
    for name, source in (("offline", "replay: {data: PATH@1000}"), ("begun", "init_from: PATH")):
        played = write_run(tmp_path / "runs" / f"played_{name}")
        reader = write_run(tmp_path / "runs" / name, state="stopped")
        (reader / "config.yaml").write_text(source.replace("PATH", str(played)))
    before = write_run(tmp_path / "runs" / "before")  # which the run that is read reads
    (tmp_path / "runs" / "played_offline" / "config.yaml").write_text(f"replay: {{data: {before}@1000}}")
    assert console("clean", tmp_path / "runs", "--yes") == exits.FINISHED
    assert len([*(tmp_path / "runs").iterdir()]) == 5
    assert "played_offline stays: " in capsys.readouterr().err
    RunFolder(tmp_path / "runs" / "offline").write_status("finished", 500, 10, saved=500)
    assert console("clean", tmp_path / "runs", "--yes") == exits.FINISHED
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["begun", "played_begun"]


def test_runs_that_are_read_by_relative_paths_and_by_waiting_jobs_stay(tmp_path, monkeypatch, capsys):
    """A relative path was taken from where `deeprl clean` was called, and jobs that had not begun were not asked."""
    (home := tmp_path / "home").mkdir()
    for name in ("played", "swept", "tuned", "a", "b", "free"):
        write_run(home / "runs" / name)
    reader = write_run(home / "runs" / "reader", state="stopped")
    (reader / "config.yaml").write_text("replay: {data: runs/played@1000}")
    with monkeypatch.context() as patch:
        patch.chdir(home)
        RunFolder(reader).append_system(machine.system_entry())
        (home / "runs" / "sweep").mkdir()
        SweepFolder(home / "runs" / "sweep", [], [Job("seed=0", ("init_from=runs/swept", "seed=0"))]).store()
        words = "replay.data='runs/tuned@1000'", "init_from=choice('runs/a', runs/b)", "agent.baseline.run=range(1000000000000)"
        settings = Settings(words, None, 1, 1, "none", 0, (), 1, 1, str(home))
        (home / "runs" / "study").mkdir()
        settings.store(home / "runs" / "study")
    assert console("clean", home / "runs", "--yes") == exits.FINISHED
    assert sorted(path.name for path in (home / "runs").iterdir()) == ["a", "b", "played", "reader", "study", "sweep", "swept", "tuned"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.yaml", "replay: {data: PATH@1000}"), ("sweep.json", "{}"), ("tune.json", "{}"), ("listing", "")],
)
def test_nothing_goes_while_what_may_read_it_cannot_be_read(name, content, tmp_path, capsys, monkeypatch):
    """A run, a sweep or a study on a disk that did not answer counted as one that reads nothing."""
    played = write_run(tmp_path / "runs" / "played")
    reader = write_run(tmp_path / "runs" / "reader", state="stopped") if name == "config.yaml" else tmp_path / "runs" / "reader"
    reader.mkdir(exist_ok=True)
    (reader / name).write_text(content.replace("PATH", str(played)))
    regular, scan = files.read_regular, os.scandir

    def broken(path, *given, call):
        if reader in (path, path.parent):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return call(path, *given)

    if name == "listing":
        monkeypatch.setattr(os, "scandir", lambda path=".": broken(Path(path), call=scan))
    for module in ("deeprl.running.runs.folder", "deeprl.running.runs.config_file", "deeprl.tools.sweep.folder"):
        monkeypatch.setattr(f"{module}.read_regular", lambda path, limit: broken(path, limit, call=regular))
    assert console("clean", tmp_path / "runs", "--yes") == exits.FAILED
    assert "cannot be read" in capsys.readouterr().err
    assert played.exists()


def test_a_run_that_another_has_begun_to_read_while_the_question_was_open_stays(tmp_path, monkeypatch, capsys):
    played = write_run(tmp_path / "runs" / "played")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)

    def answered(question):
        (write_run(tmp_path / "runs" / "reader", state="running") / "config.yaml").write_text(f"init_from: {played}")
        return "y"

    monkeypatch.setattr("builtins.input", answered)
    assert console("clean", tmp_path / "runs") == exits.FINISHED
    assert played.exists()


def test_nothing_goes_without_a_yes(runs, tmp_path, capsys, monkeypatch):
    _, gone = runs
    assert console("clean", tmp_path) == exits.WRONG
    assert "say --yes" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "")
    assert console("clean", tmp_path) == exits.FINISHED
    assert all(path.exists() for path in gone.values())
    assert clean.reason(gone["short"], below=499) == ""


def test_a_run_that_went_on_while_the_question_was_open_stays(runs, tmp_path, capsys, monkeypatch):
    _, gone = runs
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)

    def answered(question):
        RunFolder(gone["short"]).write_status("finished", 1_000_000, 10, saved=1_000_000)
        return "y"

    monkeypatch.setattr("builtins.input", answered)
    assert console("clean", tmp_path) == exits.FINISHED
    assert gone["short"].exists()
    assert "has changed meanwhile" in capsys.readouterr().err


def test_folders_above_the_one_that_was_named_stay(tmp_path):
    write_run(tmp_path / "mine" / "project" / "runs_of_it" / "agent" / "one")
    assert console("clean", tmp_path / "mine" / "project" / "runs_of_it", "--yes") == exits.FINISHED
    assert (tmp_path / "mine" / "project" / "runs_of_it").exists()
    assert not (tmp_path / "mine" / "project" / "runs_of_it" / "agent").exists()


def test_a_run_that_cannot_be_removed_is_a_failure_and_one_that_is_named_twice_is_one(tmp_path, capsys, monkeypatch):
    """It was 0; and the second removal made the folder anew, with a lock."""
    write_run(tmp_path / "one")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(PermissionError("no")))
        assert console("clean", tmp_path, "--yes") == exits.FAILED
    assert "could not be removed whole" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path.parent)
    assert console("clean", tmp_path, tmp_path.name, "--yes") == exits.FINISHED
    assert not (tmp_path / "one").exists()
