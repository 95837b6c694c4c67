"""A small campaign of SIGKILLs at the n-th step and at the n-th write of a process, never by the clock: what is resumed is the
uninterrupted run, bit for bit. `python -m benchmarks.faults` is the large one, at random moments and over all families."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.fault_cells import FAMILIES
from benchmarks.kill_and_resume import differences
from deeprl.cli import exits
from deeprl.running.training.collector import Collector
from tests.builders import begin, console
from tests.promises.test_resume import RUNS, assert_same_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that kills itself is forked")


def after(count: int, function):
    """`function`, which kills this process at its `count`-th call, before it does anything."""
    left = [count]

    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


def killed(kind: str, count: int, command) -> bool:
    """Run `command` in a forked process that dies at its `count`-th step or write. Returns whether it came to that."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            if kind == "step":
                Collector.tick = after(count, Collector.tick)
            else:  # every file is flushed, renamed or removed
                shared = after(count, lambda function, *args, **kwargs: function(*args, **kwargs))
                for module, name in ((os, "fsync"), (os, "rename"), (os, "replace"), (shutil, "rmtree")):
                    plain = getattr(module, name)
                    setattr(module, name, lambda *args, plain=plain, **kwargs: shared(plain, *args, **kwargs))
            code = command()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == exits.FINISHED
    return False


# 150 ticks; writes: start, three evaluations, and some five checkpoints of about ten each
MOMENTS = {
    "dqn": [("write", 3), ("step", 45), ("write", 14), ("write", 19), ("step", 70), ("write", 27), ("write", 5)],
    "prioritized": [("step", 55), ("write", 10), ("write", 17), ("step", 33)],
    "idqn": [("write", 13), ("step", 61), ("write", 23), ("step", 20)],
    "td3": [("step", 90), ("write", 8), ("write", 15), ("step", 30)],
}


@pytest.mark.parametrize("name", ["dqn", "idqn", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("prioritized", "td3"))])
def test_a_run_that_is_killed_again_and_again_is_the_uninterrupted_run(name, tmp_path):
    whole, path, kills = tmp_path / "whole", tmp_path / "killed", 0
    words = RUNS[name]
    assert begin(whole, *words) == exits.FINISHED
    begun = False
    for kind, count in MOMENTS[name]:
        begun = begun or (path / "config.yaml").exists()
        command = (lambda: console("resume", path)) if begun else (lambda: begin(path, *words))
        if not begun and path.exists():  # killed before the run had written what it is
            shutil.rmtree(path)
        kills += killed(kind, count, command)
    assert kills >= len(MOMENTS[name]) - 1
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, whole)
    assert not differences(whole, path)
    assert not list(path.rglob("*partial*"))


@pytest.mark.parametrize("segment", [pytest.param(8 << 20, marks=pytest.mark.exhaustive), 1000])
def test_a_kill_at_any_write_of_a_checkpoint(tmp_path, monkeypatch, segment):
    """Every third of the writes 16 to 33: each leaves a run that ends where the uninterrupted one ends; also where replay rows are written
    ahead of their checkpoint, some twenty at a time, which writes all that the others write."""
    monkeypatch.setattr("deeprl.running.training.saving.SEGMENT_BYTES", segment)
    words = [w for w in RUNS["dqn"] if not w.startswith(("steps", "evaluation.every", "checkpoint.every"))]
    words += ["steps=120", "evaluation.every=null", "checkpoint.every=40"]
    whole = tmp_path / "whole"
    assert begin(whole, *words) == exits.FINISHED
    for count in range(16, 34, 3):
        path = tmp_path / str(count)
        assert killed("write", count, lambda path=path: begin(path, *words))
        assert console("resume", path) == exits.FINISHED
        assert not differences(whole, path)


# ---- the campaign's own parts


def test_the_campaign_has_enough_cells():
    assert len(set(faults.CELLS)) >= 24
    assert {cell.env.split("/")[0] for cell in faults.CELLS} >= set(FAMILIES)
    assert {cell.vector for cell in faults.CELLS} >= {"sync", "async", "ale"}
    assert {cell.replay for cell in faults.CELLS} >= {"uniform", "prioritized", "sequences", "rollout"}


def test_the_campaign_goes_on_where_it_was_and_counts_what_differs(tmp_path, monkeypatch, capsys):
    measured = []

    def measure(cell, folder, kills, dice):
        measured.append(cell)
        kills = [{"saved": 10, "inside": True}, {"saved": 20, "inside": False}]
        return {**cell._asdict(), "kills": kills, "differences": ["metrics.jsonl"] if len(measured) == 2 else []}

    monkeypatch.setattr(faults, "measure", measure)
    for words, code in ((["--cells", "1"], 0), (["--cells", "1"], 1), (["--table"], 1), (["--minutes", "-1"], 1)):
        monkeypatch.setattr(sys, "argv", ["faults", "--folder", str(tmp_path), *words])
        assert faults.main() == code
    assert measured == faults.CELLS[:2]
    assert [json.loads(line)["agent"] for line in (tmp_path / "results.jsonl").read_text().splitlines()] == ["dqn", "idqn"]
    said = capsys.readouterr().out.splitlines()[-4:]
    assert said[-3].endswith("| 2 | 1 | equal bit for bit |")
    assert said[-2].endswith("| 2 | 1 | metrics.jsonl |")
    assert said[-1] == "| all | | | | 4 | 2 | 1 of 2 equal |"


def test_differences_are_found(finished, tmp_path):
    other = shutil.copytree(finished, tmp_path / "other")
    assert not differences(finished, other)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        text = (other / name).read_text()
        (Path(other) / name).write_text(text.replace('"step": 300', '"step": 301'))
    assert differences(finished, other) == ["metrics.jsonl", "evaluations.jsonl"]
