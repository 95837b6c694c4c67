"""Keys and metrics that depend on wall time, on a clock that gains a minute with every step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deeprl.cli import exits
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.training import stopwatch, trainer
from deeprl.running.training.collector import Collector
from deeprl.running.training.evaluator import Evaluator
from tests.builders import CARTPOLE, begin, console

TIMED = (*CARTPOLE, "replay.ratio=0.5", "evaluation.every=null", "checkpoint.every=null", "checkpoint.keep=10")
EVALUATION = 7200.0
"""Seconds of each evaluation"""


class Minutes:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch) -> Minutes:
    clock, tick, evaluate = Minutes(), Collector.tick, Evaluator.__call__

    def timed_tick(self, step):
        clock.seconds += 60.0 * self.envs.num
        return tick(self, step)

    def timed_evaluation(self, *arguments):
        clock.seconds += EVALUATION
        return evaluate(self, *arguments)

    monkeypatch.setattr(Collector, "tick", timed_tick)
    monkeypatch.setattr(Evaluator, "__call__", timed_evaluation)
    for module in (stopwatch, trainer):
        monkeypatch.setattr(module, "time", clock)
    return clock


def summary(path: Path) -> dict:
    return json.loads((path / "summary.json").read_text())


@pytest.mark.parametrize(("minutes", "steps"), [("99", [100, 200, 300]), ("100", [150, 300]), ("0.5", [50, 100, 150, 200, 250, 300])])
def test_a_checkpoint_is_written_when_the_last_one_is_older_than_minutes(minutes, steps, clock, tmp_path):
    """The trainer looks at the clock with every line of the log, which is every 50 steps; the last checkpoint is the final one."""
    assert begin(tmp_path / "run", *TIMED, f"checkpoint.minutes={minutes}") == exits.FINISHED
    assert Checkpoints(tmp_path / "run").steps() == steps


def test_a_run_ends_after_its_hours(clock, tmp_path, capsys):
    """After 2.4 hours, which are 144 minutes, the trainer looks at the clock at step 150. Evaluations count too."""
    assert begin(tmp_path / "run", *TIMED, "stop.hours=2.4") == exits.FINISHED
    told = summary(tmp_path / "run")
    assert (told["steps"], told["stopped_early"]) == (150, "stop.hours=2.4 have passed")
    assert told["wall_seconds"] == 60 * 150 + EVALUATION
    assert RunFolder(tmp_path / "run").read_status()["stopped_early"] == "stop.hours=2.4 have passed"


def test_hours_are_counted_over_all_starts(clock, tmp_path):
    """100 minutes and a final evaluation of two hours in the first process: 6.9 hours end 194 minutes later."""
    path = tmp_path / "run"
    assert begin(path, *TIMED, "steps=100") == exits.FINISHED
    clock.seconds += 1e6  # between the processes
    assert console("resume", path, "steps=400", "stop.hours=6.9") == exits.FINISHED
    told = summary(path)
    assert (told["steps"], told["stopped_early"]) == (300, "stop.hours=6.9 have passed")
    assert told["wall_seconds"] == 60 * 300 + 2 * EVALUATION
    metrics = [line for _, line in read_lines(path / "metrics.jsonl")]
    elapsed = {line["step"]: line["time/time_elapsed"] for line in metrics if "time/time_elapsed" in line}
    assert elapsed == {step: 60.0 * step + (EVALUATION if step > 100 else 0) for step in range(50, 301, 50)}


def test_speeds_are_those_of_training_after_the_warm_up(clock, tmp_path):
    """A step a minute and half an update, whatever evaluations take."""
    path = tmp_path / "run"
    assert begin(path, *TIMED, "evaluation.every=100") == exits.FINISHED
    for _, line in read_lines(path / "metrics.jsonl"):
        if "time/fps" in line:
            assert line["time/fps"] == pytest.approx(1 / 60)
            assert line["time/updates_per_second"] == pytest.approx(0.5 / 60)
    assert summary(path)["steps_per_second"] == pytest.approx(1 / 60)
    assert summary(path)["wall_seconds"] == 60 * 300 + 3 * EVALUATION
