"""What a sweep shows: everything is read from run folders, written here by hand."""

from __future__ import annotations

import io
import json

import pytest

from deeprl.running.runs.folder import RunFolder
from deeprl.tools.sweep.folder import SweepFolder
from deeprl.tools.sweep.grid import expand
from deeprl.tools.sweep.job_status import JobStatus, look
from deeprl.tools.sweep.table import JobRow, TableView, remaining
from tests.running.runs.test_loggers import Clock


def running(run, step, **metrics):
    run.mkdir(exist_ok=True)
    RunFolder(run).write_status("running", 100, 0)
    lines = [{"step": 100, "rollout/ep_rew_mean": 1.5, "time/fps": 10.0}, {"step": step, "rollout/ep_rew_mean": None, **metrics}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 999, "cut')


def test_a_job_is_read_from_its_run_folder(tmp_path):
    run = tmp_path / "run"
    assert look(run) == JobStatus("waiting", 0)
    running(run, 200, **{"time/fps": 20.0})
    assert look(run) == JobStatus("running", 200, 20.0, 1.5)
    RunFolder(run).write_status("finished", 300, 0)
    RunFolder(run).write_summary({"final": {"mean": 7.0}, "steps_per_second": 30.0})
    assert look(run) == JobStatus("finished", 300, 30.0, 7.0)


def test_a_line_that_is_no_line_of_a_run_is_skipped(tmp_path):
    running(tmp_path, 200)
    with open(tmp_path / "metrics.jsonl", "w") as file:
        file.write('{"step": 200}\n7\n[1]\n{"step": "x"}\n')
    assert look(tmp_path).step == 200


def test_time_left():
    done, half = JobRow("a", JobStatus("finished", 100, 10.0), 100), JobRow("b", JobStatus("running", 50, 10.0), 100)
    fresh = JobRow("c", JobStatus("waiting"), 100)
    assert half.left == 5.0
    assert remaining([done], 2) is None
    assert remaining([half, fresh], 1) == 15.0
    assert remaining([done, half, fresh], 2) == 10.0  # the last job alone takes ten seconds
    assert remaining([half, fresh, fresh, fresh], None) == 10.0
    assert remaining([fresh], 1) is None  # no speed is known


@pytest.fixture
def view(tmp_path):
    def make(live):
        folder = SweepFolder(tmp_path, ["seed=0,1,2"], expand(["seed=0,1,2"]))
        return TableView(folder, dict.fromkeys(("seed=0", "seed=1", "seed=2"), 400), 1, io.StringIO(), live, Clock())

    return make


def test_lines_say_what_starts_and_ends_and_a_summary_comes_each_minute(view, tmp_path):
    shown = view(live=False)
    shown.update(["seed=0"], {})
    running(tmp_path / "seed=0", 200, **{"time/fps": 20.0})
    shown.update(["seed=0"], {})  # nothing new
    shown.clock.now += 61
    shown.update(["seed=0"], {})
    shown.update(["seed=1"], {"seed=0": 75})
    shown.update([], {"seed=0": 75, "seed=1": 1})
    shown.close()
    assert shown.stream.getvalue().splitlines() == [
        "seed=0: started",
        "1 running, 2 waiting; 50 s left",  # (200 + 400 + 400) / 20
        "seed=0: stopped at step 200, return 1.5",
        "seed=1: started",
        "seed=1: failed at step 0",
    ]


def test_a_job_whose_process_is_about_to_end_is_finished(view, tmp_path):
    """A status of an earlier process says nothing about this one, unless it is "finished", since such a job is not started again."""
    shown = view(live=False)
    for name, state in (("seed=0", "finished"), ("seed=1", "stopped"), ("seed=2", "running")):
        running(tmp_path / name, 200)
        RunFolder(tmp_path / name).write_status(state, 400, 0)
    assert [row.standing.state for row in shown.rows(["seed=0", "seed=1", "seed=2"])] == ["finished", "starting", "running"]


def test_the_table_is_no_higher_than_the_terminal(view, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "8")
    shown = view(live=True)
    running(tmp_path / "seed=1", 200, **{"time/fps": 20.0})
    shown.update(["seed=1"], {"seed=0": 1})
    shown.close()
    text = shown.stream.getvalue()
    assert all(word in text for word in ("running", "failed", "200", "400", "1.5", "10 s", "and 1 more"))
    assert "seed=2" not in text
