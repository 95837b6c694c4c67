"""`deeprl status`, in this process."""

from __future__ import annotations

import json
import os
import shutil
import time

from deeprl.cli import exits
from deeprl.cli.status import UNHELD, row_of, table
from deeprl.running.runs.folder import RunFolder
from tests.builders import console
from tests.tools.report.folders import write_run


def test_a_line_for_each_run_and_reasons_below(tmp_path, capsys):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", state="failed", error="RuntimeError: no more")
    (write_run(tmp_path / "c") / "config.yaml").write_text("steps: &all 5")
    assert console("status", tmp_path, tmp_path / "a") == exits.FINISHED
    told = capsys.readouterr()
    lines = [line.split() for line in told.out.splitlines()]
    assert lines[0] == ["run", "state", "step", "of", "return", "steps/s", "left", "saved", "at"]
    assert [line[1] for line in lines[1:]] == ["finished", "failed", "unreadable"]
    assert lines[1][2:] == ["500", "500", "5", "never"]
    assert f"{tmp_path / 'b'}: RuntimeError: no more" in told.err
    assert f"{tmp_path / 'c'}" in told.err


def test_programs_read_a_line_of_json_for_each_run(tmp_path, capsys):
    """status.json of a killed run says that it runs; the table alone knew that no process does."""
    path = write_run(tmp_path / "a", state="running")
    assert console("status", path, "--json") == exits.FINISHED
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["state"], found["steps"], found["saved_step"], found["error"]) == (str(path), UNHELD, 500, None, None)
    write_run(tmp_path / "b", state="failed", error="RuntimeError: no more")
    (write_run(tmp_path / "c") / "config.yaml").write_text("steps: &all 5")
    console("status", tmp_path, "--json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["state"] for row in rows] == [UNHELD, "failed", "unreadable"]
    assert rows[1]["error"] == "RuntimeError: no more"


def test_a_run_that_nobody_holds_is_told_from_one_at_work(tmp_path, capsys):
    path = write_run(tmp_path / "run", state="running")
    assert row_of(path).state == UNHELD
    assert console("status", path) == exits.FINISHED
    assert "it was killed, or runs elsewhere" in capsys.readouterr().err
    with RunFolder(path).lock():
        assert row_of(path).state == "running"


def test_the_newest_checkpoint_has_an_age(finished, tmp_path, monkeypatch):
    path = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    (newest,) = (path / "checkpoints").glob("step_*300*")
    os.utime(newest, (1000, 1000))
    monkeypatch.setattr(time, "time", lambda: 1000 + 725.0)
    assert row_of(path).cells[-1] == "300, 12 min 5 s ago"


def test_numbers_stand_to_the_right():
    rows = [("a/b", "finished", "5", "10", "1", "", "", "never"), ("a", "running", "500", "1,000", "-2.5", "7", "1 s", "5, 2 s ago")]
    assert table(rows)[1:] == [
        "a/b  finished     5     10       1                      never",
        "a    running    500  1,000    -2.5        7   1 s  5, 2 s ago",
    ]


def test_a_folder_without_runs_hides_no_others(tmp_path, capsys):
    write_run(tmp_path / "a")
    (tmp_path / "waiting").mkdir()
    assert console("status", tmp_path / "a", tmp_path / "waiting") == exits.FINISHED
    told = capsys.readouterr()
    assert str(tmp_path / "a") in told.out
    assert f"{tmp_path / 'waiting'} is no run folder and holds none" in told.err


def test_a_number_that_is_none_leaves_its_cell_empty(tmp_path):
    for place, text in enumerate(('{"final": null}', '{"final": [1]}', '{"final": {"mean": "abc"}, "steps_per_second": "x"}')):
        path = write_run(tmp_path / str(place))
        (path / "summary.json").write_text(text)
        assert row_of(path).cells[1:6] == ("finished", "500", "500", "", "")


def test_a_folder_without_runs_is_refused(tmp_path, capsys):
    assert console("status", tmp_path) == exits.FAILED
    assert "is no run folder and holds none" in capsys.readouterr().err
    assert console("status", tmp_path / "misspelt") == exits.FAILED  # was told to name a folder with a config.yaml
    assert f"{tmp_path / 'misspelt'} is no run folder: there is no such folder" in capsys.readouterr().err
