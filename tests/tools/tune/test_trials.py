"""Studies whose runs are made up: the return at every evaluation is a function of the parameter, so that the outcome is known."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from statistics import median

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, distribution_to_json

from deeprl.errors import FAILED, FINISHED, STOPPED, RunFolderError
from deeprl.running.runs.folder import RunFolder
from deeprl.system.signals import Signals
from deeprl.tools.sweep.conduct import conduct
from deeprl.tools.sweep.folder import SweepFolder
from deeprl.tools.sweep.process import Task
from deeprl.tools.tune.scores import Grid
from deeprl.tools.tune.settings import Settings
from deeprl.tools.tune.space import parse
from deeprl.tools.tune.trials import STARTUP, Trials, by_settings, open_study, pruner

GRID = Grid(steps=30, every=10)
FINE = Grid(steps=30, every=5)


class Killed(BaseException):
    """The process that runs the study is gone."""


class Quiet:
    def update(self, running, codes):
        pass


class Made:
    """A run that makes one evaluation at each look, from where its folder stands: x times the number of the evaluation, plus its seed.

    With x below 0 it fails at its second evaluation, by NaN; with x below -1 by the disk.
    """

    def __init__(self, task: Task, launcher: Launcher):
        given = dict(word.split("=", 1) for word in task.overrides)
        self.x, self.seed = float(given["x"]), int(given["seed"])
        self.folder, self.log, self.launcher, self.stopping = RunFolder(task.run), task.log, launcher, False
        task.run.mkdir(exist_ok=True)

    def poll(self):
        self.launcher.looks -= 1
        if not self.launcher.looks:
            raise Killed
        done = len(self.folder.read_evaluations())
        if self.stopping:
            self.folder.write_status("stopped", self.launcher.grid.every * done, 0)
            return STOPPED
        if self.x < 0 and done == 1:
            error = "OSError: the disk is full" if self.x < -1 else "NotFinite: critic is nan"
            self.log.write_text(f"deeprl: the run failed: {error}\n")
            self.folder.write_status("failed", 10, 0, error)
            return FAILED
        done += 1
        every = self.launcher.grid.every
        last = done == len(self.launcher.grid.positions())
        self.folder.append_evaluation({"step": every * done, "seed": 0, "returns": [self.x * done + self.seed], "lengths": [1]})
        self.folder.write_status("finished" if last else "running", every * done, 0)
        return FINISHED if last else None

    def stop(self):
        self.stopping = True

    def kill(self):
        pass


class Launcher:
    stays, near, pause = False, True, 0.0

    def __init__(self, slots: int = 1, looks: int = -1, grid: Grid = GRID):
        self.slots, self.looks, self.grid, self.started = slots, looks, grid, list[str]()

    def start(self, task: Task) -> Made:
        self.started.append(task.run.name)
        return Made(task, self)


DEFAULTS = Settings(("x=interval(0,10)",), None, seeds=2, last=2, pruner="median", sampler_seed=0, start=(), trials=8, together=1)


def study_of(path: Path, launcher: Launcher, signals=None, **given):
    path.mkdir(exist_ok=True)
    wanted = replace(DEFAULTS, **given)
    study = open_study(path, pruner(wanted, launcher.grid))
    runs = SweepFolder(path, wanted.overrides, [])
    trials = Trials(study, parse(wanted.overrides), wanted, runs, launcher.grid)
    conduct(runs, trials.jobs(), launcher, signals or Signals(), Quiet(), trials.watch)
    return study


def facts(study) -> list:
    return [(t.number, t.state.name, t.value, t.params, t.intermediate_values, t.user_attrs) for t in study.get_trials()]


def test_a_complete_trial_is_worth_the_mean_over_seeds_of_the_last_evaluations(tmp_path):
    (trial,) = study_of(tmp_path, Launcher(), trials=1, start=("x=2",)).trials
    assert trial.params == {"x": 2.0}
    assert trial.user_attrs["scores"] == [5.0, 6.0]  # (4 + 6) / 2, and one more for seed 1
    assert trial.value == 5.5
    assert trial.intermediate_values == {10: 2.0, 20: 4.0, 30: 6.0, 40: 2.5, 50: 4.5, 60: 6.5}


def test_seeds_of_a_trial_side_by_side_are_reported_together(tmp_path):
    (trial,) = study_of(tmp_path, Launcher(slots=2), trials=1, start=("x=2",), together=2).trials
    assert trial.intermediate_values == {10: 2.5, 20: 4.5, 30: 6.5}


def test_the_median_prunes_what_is_below_it_and_its_runs_stop_saved(tmp_path, capsys):
    launcher = Launcher(grid=FINE)
    trials = study_of(tmp_path, launcher).trials
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert len(trials) == 8
    assert pruned
    said = capsys.readouterr().err
    for trial in pruned:  # all curves rise with x, so that the rule compares x with the median of the trials before
        assert trial.number >= STARTUP
        assert trial.params["x"] < median(t.params["x"] for t in trials[: trial.number])
        assert trial.last_step == 10  # the first evaluation behind a quarter of the run
        run = tmp_path / f"trial={trial.number:03},seed=0"
        assert RunFolder(run).read_status()["state"] == "stopped"
        assert f"trial={trial.number:03},seed=1" not in launcher.started
        assert f"trial {trial.number}: pruned after 10 of 60 steps" in said
    whole = [trial for trial in trials[STARTUP:] if trial.state.name == "COMPLETE"]
    assert all(trial.params["x"] >= median(t.params["x"] for t in trials[: trial.number]) for trial in whole)


def test_halving_keeps_the_best_third_at_each_rung(tmp_path):
    """At the first evaluations behind 60 // 9 = 6 and 3 · 6 of all 60 steps."""
    study = study_of(tmp_path, Launcher(grid=FINE), pruner="halving")
    assert {trial.last_step for trial in study.trials if trial.state.name == "PRUNED"} == {10, 20}


def test_without_a_pruner_every_trial_is_complete(tmp_path):
    assert {trial.state.name for trial in study_of(tmp_path, Launcher(), pruner="none").trials} == {"COMPLETE"}


def test_a_failed_trial_keeps_its_message_and_the_study_goes_on(tmp_path):
    launcher = Launcher()
    first, *rest = study_of(tmp_path, launcher, overrides=("x=interval(-1,10)",), start=("x=-1",), trials=3).trials
    assert first.state.name == "FAIL"
    assert first.user_attrs["error"] == "deeprl: the run failed: NotFinite: critic is nan"
    assert "trial=000,seed=1" not in launcher.started
    assert [trial.state.name for trial in rest] == ["COMPLETE", "COMPLETE"]


def test_a_full_disk_leaves_trials_open_and_ends_the_study(tmp_path):
    """Two runs in a row fail by the machine: no further trial is sampled, and none is booked as failed."""
    launcher = Launcher()
    with pytest.raises(RunFolderError, match="trial=000,seed=0 and trial=000,seed=1 failed by the machine"):
        study_of(tmp_path, launcher, overrides=("x=interval(-3,-2)",), trials=9)
    assert launcher.started == ["trial=000,seed=0", "trial=000,seed=1"]
    assert [trial.state.name for trial in open_study(tmp_path).trials] == ["RUNNING"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("TimeoutError: rows", False),
        ("MachineError: env", False),
        ("UnreadableError: it", False),
        ("BrokenPipeError: [Errno 32]", False),
        ("NotFinite: critic", True),
        ("RuntimeError: no", True),
    ],
)
def test_every_error_of_the_system_is_a_fault_of_the_machine(tmp_path, error, expected):
    RunFolder(tmp_path).write_status("failed", 10, 0, error)
    assert by_settings(tmp_path) == expected


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return facts(study_of(tmp_path_factory.mktemp("undisturbed"), Launcher()))


def test_a_study_in_one_slot_is_a_function_of_its_seed(tmp_path, undisturbed):
    assert facts(study_of(tmp_path / "same", Launcher())) == undisturbed
    other = facts(study_of(tmp_path / "other", Launcher(), sampler_seed=1, trials=1))
    assert other[0][3] != undisturbed[0][3]


@pytest.mark.parametrize("looks", [1, 8, 32])
def test_a_killed_study_goes_on_as_if_it_had_not_been_killed(tmp_path, undisturbed, looks):
    with pytest.raises(Killed):
        study_of(tmp_path, Launcher(looks=looks))
    over = {f"{trial.number:03}" for trial in open_study(tmp_path).trials if trial.state.is_finished()}
    launcher = Launcher()
    assert facts(study_of(tmp_path, launcher)) == undisturbed
    assert not over & {name[6:9] for name in launcher.started}


@pytest.mark.parametrize("method", ["report", "should_prune"])
def test_a_process_killed_between_a_report_and_its_judgement_loses_neither(tmp_path, undisturbed, monkeypatch, method):
    original = getattr(optuna.trial.Trial, method)
    victim = next(number for number, state, *_ in undisturbed if state == "PRUNED")

    def killing(self, *words):
        original(self, *words)
        if self.number == victim:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(optuna.trial.Trial, method, killing)
        with pytest.raises(Killed):
            study_of(tmp_path, Launcher())
    assert facts(study_of(tmp_path, Launcher())) == undisturbed


def test_a_signal_leaves_trials_open_and_starts_no_others(tmp_path, undisturbed):
    signals = Signals()

    class Signalling(Launcher):
        def start(self, task):
            signals.stop = "SIGTERM" if len(self.started) == 3 else None
            return super().start(task)

    study = study_of(tmp_path, Signalling(), signals)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING"]
    assert facts(study_of(tmp_path, Launcher())) == undisturbed


def test_a_run_that_was_killed_alone_leaves_its_trial_open(tmp_path, undisturbed):
    class Deadly(Launcher):
        def start(self, task):
            run = super().start(task)
            if len(self.started) == 1:
                run.poll = lambda: -9
            return run

    study = study_of(tmp_path, Deadly(), trials=2)
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "COMPLETE"]
    assert study_of(tmp_path, Launcher(), trials=2).trials[0].value == undisturbed[0][2]


def test_more_trials_may_be_asked_for_later(tmp_path, undisturbed):
    study_of(tmp_path, Launcher(), trials=6)
    assert facts(study_of(tmp_path, Launcher())) == undisturbed


def test_half_a_line_and_a_lock_that_a_killed_process_left_are_removed(tmp_path, undisturbed):
    study_of(tmp_path, Launcher(), trials=2)
    with open(tmp_path / "study.log", "a") as file:
        file.write('{"op_code":4,"worker')
    (tmp_path / "study.log.lock").symlink_to("nowhere")
    assert facts(study_of(tmp_path, Launcher())) == undisturbed


@pytest.mark.parametrize("target", ["mine", "/dev/zero", "pipe"])
def test_a_study_that_is_no_plain_file_is_neither_cut_nor_appended_to(tmp_path, target):
    """The last line of a file of the user was cut, and Optuna's journal stood behind it."""
    (tmp_path / "mine").write_text("a thesis\nwithout an end")
    (tmp_path / "study").mkdir()
    if target == "pipe":
        os.mkfifo(tmp_path / "study" / "study.log")
    else:
        (tmp_path / "study" / "study.log").symlink_to(tmp_path / target)
    with pytest.raises(RunFolderError, match=r"study\.log is damaged: .*not a plain file"):
        open_study(tmp_path / "study")
    assert (tmp_path / "mine").read_text() == "a thesis\nwithout an end"


@pytest.mark.parametrize("key", ["values", "intermediate_value", "step"])
def test_values_that_are_no_numbers_are_damage(tmp_path, key):
    study_of(tmp_path, Launcher(), trials=1)
    lines = [json.loads(line) for line in (tmp_path / "study.log").read_text().splitlines()]
    for line in lines:
        if line.get(key) is not None:
            line[key] = ["x"] if key == "values" else "x"
    (tmp_path / "study.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunFolderError, match=r"study\.log is damaged"):
        open_study(tmp_path)


@pytest.mark.parametrize("params", [{}, {"y": 0.5}, {"x": 0.5}])
def test_trials_that_are_over_have_values_of_this_study_too(tmp_path, params):
    """The best of them stands in best.yaml: a stranger's had {_target_: os.system} there."""
    study_of(tmp_path, Launcher(), trials=1)
    lines = [json.loads(line) for line in (tmp_path / "study.log").read_text().splitlines()]
    theirs = distribution_to_json(CategoricalDistribution([0.5, "{_target_: os.system}"]))
    for line in lines:
        if "distributions" in line:
            line["params"], line["distributions"] = dict.fromkeys(params, 1), dict.fromkeys(params, theirs)
    (tmp_path / "study.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunFolderError, match="the values of trial 0 are not of this study"):
        study_of(tmp_path, Launcher(), trials=1)


def test_a_study_larger_than_any_is_not_read(tmp_path):
    (tmp_path / "study.log").touch()
    os.truncate(tmp_path / "study.log", 1 << 40)
    with pytest.raises(RunFolderError, match=r"study\.log is damaged: .*more than"):
        open_study(tmp_path)


def test_a_damaged_study_is_named(tmp_path):
    (tmp_path / "study.log").write_text("{}\n{\n")
    with pytest.raises(RunFolderError, match=r"study\.log is damaged"):
        open_study(tmp_path)


def test_the_damaged_folder_of_one_run_leaves_its_trial_open_and_the_study_goes_on(tmp_path, capsys):
    """The study ended with it, at each resume."""
    with pytest.raises(Killed):
        study_of(tmp_path, Launcher(looks=3), pruner="none")
    (run,) = tmp_path.glob("trial=000,seed=0")
    (run / "status.json").write_text("{")
    study = study_of(tmp_path, Launcher(), pruner="none")
    assert [trial.state.name for trial in study.get_trials()] == ["RUNNING", *["COMPLETE"] * 7]
    assert "trial 0: " in capsys.readouterr().err


def test_a_fault_of_the_machine_counts_once():
    """It was told and counted again after each trial that ended."""
    trials = object.__new__(Trials)
    trials.faults, trials.told, trials.runs = {}, set(), SweepFolder
    trials._fault("trial=000,seed=0", "no space")
    trials.faults.clear()  # as a trial that ended does
    trials._fault("trial=000,seed=0", "no space")
    assert trials.faults == {}
